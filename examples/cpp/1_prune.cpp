// Prunes half of a model's weights with Wanda and looks at what that cost.
//
//   example_1_prune MODEL CALIBRATION HELDOUT OUT
//
// MODEL is a Hugging Face folder, CALIBRATION and HELDOUT are text files, OUT is a folder to write.
// examples/python/1_prune.py does the same.
#include <cupel/cupel.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

namespace {

void prune(const std::string& model_folder, const std::string& calibration,
           const std::string& heldout, const std::string& out) {
  const auto model = cupel::load_model(model_folder);
  const auto tokenizer = cupel::load_tokenizer(model_folder);
  const auto dense = cupel::evaluate(*model, *tokenizer, {"perplexity"}, {.text = heldout});

  // Wanda looks at the inputs of each layer, so it needs some text that runs through the model.
  const int64_t length = std::min<int64_t>(256, model->config().max_positions);
  const auto windows =
      cupel::sample_windows(calibration, *tokenizer, {.samples = 32, .length = length, .seed = 0});

  // Works in place, block by block: each layer is calibrated on what the layers before it, already
  // pruned, make of the text.
  const auto result =
      cupel::compress(*model, windows, cupel::Prune(cupel::wanda(), cupel::unstructured(0.5)));
  std::printf("%zu layers, %.2f%% of their weights are zero\n", result.layers.size(),
              100 * result.sparsity());

  // The relative error of a layer is that of its outputs on the calibration text.
  const auto worst = std::max_element(
      result.layers.begin(), result.layers.end(),
      [](const auto& a, const auto& b) { return *a.relative_error < *b.relative_error; });
  std::printf("largest relative error: %.4f in %s\n", *worst->relative_error, worst->name.c_str());

  const auto pruned = cupel::evaluate(*model, *tokenizer, {"perplexity"}, {.text = heldout});
  const auto paired = cupel::compare(dense, pruned).perplexities.front();
  std::printf("dense perplexity:      %.4f\n", paired.dense);
  std::printf("compressed perplexity: %.4f\n", paired.compressed);
  std::printf("loss difference:       %.4f ± %.4f\n", paired.loss_difference,
              paired.standard_error);

  // A folder that transformers loads, with a record of all this in cupel.json.
  cupel::save_model(*model, out);
  std::printf("written to %s\n", out.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: %s MODEL CALIBRATION HELDOUT OUT\n", arguments[0]);
    return 2;
  }
  try {
    prune(arguments[1], arguments[2], arguments[3], arguments[4]);
  } catch (const std::exception& error) {  // every error of cupel says what is wrong and where
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
