// Prunes with a criterion of your own, here RIA, and compares it with Wanda.
//
//   example_2_own_criterion MODEL CALIBRATION HELDOUT OUT
//
// RIA, "relative importance and activations", is from Zhang et al., Plug-and-Play: An Efficient
// Post-training Pruning Method for Large Language Models, ICLR 2024. A weight matters by its share
// of its column and of its row, times the square root of its input's norm. The library has it as
// well, as cupel::ria(); here it stands for one of your own.
// examples/python/2_own_criterion.py does the same.
#include <cupel/cupel.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

namespace {

// A criterion is a function of a weight [out, in] and the statistics of its layer's inputs. It
// returns a score for each weight; the lowest are pruned. `needs` says which statistics it asks for,
// and only those are collected.
const cupel::Criterion my_ria{
    .name = "my_ria",
    .needs = cupel::Needs::sq_norm,
    .score = [](const torch::Tensor& weight, const cupel::InputStats& inputs) {
      const auto a = weight.abs();
      const double tiny = 1e-30;  // rows or columns of zeros score 0 instead of 0 / 0
      const auto relative = a / a.sum(0, true).clamp_min(tiny) + a / a.sum(1, true).clamp_min(tiny);
      // sq_norm [in] is the sum of x^2 over the tokens.
      return relative * inputs.sq_norm().pow(0.25).to(a.device());
    }};

void compare_criteria(const std::string& model_folder, const std::string& calibration,
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
  std::printf("dense perplexity:               %.4f\n", perplexity());

  cupel::criteria().add(my_ria.name, my_ria);  // from here on "my_ria" is a name like "wanda"
  for (const std::string name : {"wanda", "my_ria"}) {
    model = cupel::load_model(model_folder);  // compress works in place: start from the dense one
    cupel::compress(*model, windows, cupel::Prune(name, cupel::n_of_m(2, 4)));
    std::printf("compressed perplexity, %-8s %.4f\n", (name + ":").c_str(), perplexity());
  }
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
    compare_criteria(arguments[1], arguments[2], arguments[3], arguments[4]);
  } catch (const std::exception& error) {  // every error of cupel says what is wrong and where
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
