#include "cupel/model/generate.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/random.h"

namespace cupel {

namespace {

// One id from softmax(logits / temperature) restricted to top_k and top_p. The candidates are
// sorted by probability, then id, so that a seed means the same text everywhere.
int64_t sample(const torch::Tensor& logits, const GenerateOptions& options, PythonRandom& random) {
  const auto probabilities =
      at::softmax(logits.to(at::kDouble) / options.temperature, -1).cpu().contiguous();
  const double* p = probabilities.const_data_ptr<double>();
  std::vector<int64_t> ids(probabilities.numel());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return p[a] > p[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(ids.size())) {
    ids.resize(options.top_k);
  }
  double mass = 0, kept = 0;
  std::size_t count = 0;
  for (const int64_t id : ids) mass += p[id];
  while (count < ids.size() && (count == 0 || kept < options.top_p * mass)) kept += p[ids[count++]];
  double target = random.uniform() * kept;
  for (std::size_t i = 0; i < count; ++i) {
    target -= p[ids[i]];
    if (target < 0) return ids[i];
  }
  return ids[count - 1];
}

}  // namespace

std::vector<int64_t> generate(const Model& model, const std::vector<int64_t>& prompt,
                              const GenerateOptions& options) {
  check(!prompt.empty(), "generate", "the prompt needs at least one token.");
  check(options.max_new_tokens >= 0, "generate", "max_new_tokens is at least 0. Got ",
        options.max_new_tokens, ".");
  check(options.temperature >= 0 && options.top_k >= 0 && options.top_p > 0 && options.top_p <= 1,
        "generate", "temperature and top_k are at least 0 and top_p lies in (0, 1]. Got ",
        options.temperature, ", ", options.top_k, ", ", options.top_p, ".");
  const int64_t total = static_cast<int64_t>(prompt.size()) + options.max_new_tokens;
  check(total <= model.config().max_positions, "generate",
        "prompt and new tokens must fit the model's ", model.config().max_positions,
        " positions. Got ", prompt.size(), " + ", options.max_new_tokens, ".");
  const at::NoGradGuard no_grad;
  PythonRandom random(options.seed);
  const ProgressReporter progress(options.progress);
  std::vector<KeyValues> cache;
  std::vector<int64_t> made;
  auto next = at::tensor(at::ArrayRef<int64_t>(prompt), at::kLong).unsqueeze(0);
  while (static_cast<int64_t>(made.size()) < options.max_new_tokens) {
    const auto logits = model.head(model.hidden(next, &cache).select(1, -1)).squeeze(0);
    const int64_t id = options.temperature > 0 ? sample(logits, options, random)
                                               : logits.argmax(-1).item<int64_t>();
    if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) break;
    made.push_back(id);
    next = at::full({1, 1}, id, at::kLong);
    progress.report({.stage = "generate",
                     .name = "",
                     .done = static_cast<int64_t>(made.size()),
                     .total = options.max_new_tokens});
  }
  return made;
}

}  // namespace cupel
