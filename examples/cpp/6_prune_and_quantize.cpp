// Prunes to 2:4 and quantizes to 4 bits: in one sweep, and one after the other.
//
//   example_6_prune_and_quantize MODEL CALIBRATION HELDOUT OUT
//
// MODEL is a Hugging Face folder, CALIBRATION and HELDOUT are text files, OUT is a folder to write.
// examples/python/6_prune_and_quantize.py does the same.
#include <cupel/cupel.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

void prune_and_quantize(const std::string& model_folder, const std::string& calibration,
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
  std::printf("dense perplexity:                                 %.4f\n", perplexity());

  const auto pattern = cupel::n_of_m(2, 4);
  const cupel::Grid grid{.bits = 4};
  // One sweep over the columns that prunes each weight or rounds it, as in the SparseGPT paper.
  const auto joint =
      std::make_shared<cupel::SparseGpt>(pattern, cupel::SparseGptOptions{.grid = grid});
  // Any methods in a row, layer by layer. What the first one pruned stays exactly zero, and losses
  // are against the weights that the first one was given.
  const std::vector<std::shared_ptr<const cupel::Compressor>> steps{
      std::make_shared<cupel::SparseGpt>(pattern), std::make_shared<cupel::Gptq>(grid)};
  const auto chain = std::make_shared<cupel::Chain>(steps);

  cupel::CompressionResult result;
  for (const std::shared_ptr<cupel::Compressor>& method :
       std::vector<std::shared_ptr<cupel::Compressor>>{joint, chain}) {
    model = cupel::load_model(model_folder);  // compress works in place: start from the dense one
    result = cupel::compress(*model, windows, *method);
    std::printf("compressed perplexity, %-26s %.4f\n", (result.method + ":").c_str(), perplexity());
  }

  int64_t pruned = 0;
  for (const auto& [name, mask] : result.masks()) pruned += (~mask).sum().item<int64_t>();
  const auto weights = static_cast<double>(result.weights());
  std::printf("%.2f%% of the weights pruned\n", 100 * static_cast<double>(pruned) / weights);
  std::printf("%.2f bits a weight if packed, masks and scales included\n",
              8 * static_cast<double>(result.packed_bytes()) / weights);

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
    prune_and_quantize(arguments[1], arguments[2], arguments[3], arguments[4]);
  } catch (const std::exception& error) {  // every error of cupel says what is wrong and where
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
