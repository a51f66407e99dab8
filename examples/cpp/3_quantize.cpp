// Quantizes to 4 bits with GPTQ, beside rounding to nearest, and saves the weights packed.
//
//   example_3_quantize MODEL CALIBRATION HELDOUT OUT
//
// MODEL is a Hugging Face folder, CALIBRATION and HELDOUT are text files, OUT is a folder to write.
// examples/python/3_quantize.py does the same.
#include <cupel/cupel.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

std::string scale_dtype(const cupel::Model& model) {
  if (model.dtype() == torch::kBFloat16) return "bfloat16";
  return model.dtype() == torch::kHalf ? "float16" : "float32";
}

void quantize(const std::string& model_folder, const std::string& calibration,
              const std::string& heldout, const std::string& out) {
  const auto tokenizer = cupel::load_tokenizer(model_folder);
  auto model = cupel::load_model(model_folder);
  const int64_t length = std::min<int64_t>(256, model->config().max_positions);
  const auto windows =
      cupel::sample_windows(calibration, *tokenizer, {.samples = 32, .length = length, .seed = 0});
  const auto perplexity = [&] {
    cupel::NativeTokenModel native(*model);
    return cupel::perplexity(native, *tokenizer, heldout).value;
  };
  std::printf("dense perplexity:                   %.4f\n", perplexity());

  // 16 values for each output row; .group = 128 would give every 128 columns of it values of their
  // own. Scales in the model's dtype can be stored without rounding them again.
  const cupel::Grid grid{.bits = 4, .scale_dtype = scale_dtype(*model)};
  // Both round to the same kind of grid. GPTQ lets the columns to come make up for each error, by
  // what the inputs have in common, so it needs calibration text.
  const std::vector<std::shared_ptr<cupel::Compressor>> methods{
      std::make_shared<cupel::Rtn>(grid), std::make_shared<cupel::Gptq>(grid)};
  cupel::CompressionResult result;
  for (const auto& method : methods) {
    model = cupel::load_model(model_folder);  // compress works in place: start from the dense one
    result = cupel::compress(*model, windows, *method);
    std::printf("compressed perplexity, %-12s %.4f\n", (result.method + ":").c_str(), perplexity());
  }
  std::printf(
      "%.2f bits a weight, scales and zero points included\n",
      8.0 * static_cast<double>(result.packed_bytes()) / static_cast<double>(result.weights()));

  // Codes and scales as compressed-tensors packs them: transformers loads the folder, and
  // load_model gives back the same weights. Without `.format` the weights are written dense.
  cupel::save_model(*model, out, {.format = "pack-quantized"});
  std::printf("written to %s\n", out.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: %s MODEL CALIBRATION HELDOUT OUT\n", arguments[0]);
    return 2;
  }
  try {
    quantize(arguments[1], arguments[2], arguments[3], arguments[4]);
  } catch (const std::exception& error) {  // every error of cupel says what is wrong and where
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
