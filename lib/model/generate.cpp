#include "cupel/model/generate.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/random.h"
#include "model/sampling.h"

namespace cupel {

std::vector<int64_t> generate(const Model& model, const std::vector<int64_t>& prompt,
                              const GenerateOptions& options) {
  check(!prompt.empty(), "generate", "the prompt needs at least one token.");
  check(options.max_new_tokens >= 0, "generate", "max_new_tokens is at least 0. Got ",
        options.max_new_tokens, ".");
  check_sampling("generate", options.temperature, options.top_k, options.top_p);
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
    const int64_t id = options.temperature > 0 ? sample_token(logits, options.temperature,
                                                              options.top_k, options.top_p, random)
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
