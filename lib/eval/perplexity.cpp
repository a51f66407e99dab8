#include "cupel/eval/perplexity.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/text/records.h"
#include "eval/token_scores.h"

namespace cupel {

namespace {

// Enough tokens to keep a GEMM busy, as long as their logits stay small. Depends on the task alone,
// so that a number does not depend on the machine.
int64_t windows_at_once(int64_t length, int64_t vocabulary) {
  constexpr int64_t tokens = 4096, logits = int64_t{1} << 26;
  return std::max<int64_t>(1, std::min(tokens / length, logits / (length * vocabulary)));
}

}  // namespace

Perplexity perplexity(TokenModel& model, const Tokenizer& tokenizer, const std::string& file,
                      const PerplexityOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const char* here = "perplexity";
  check(options.protocol == "gptq", here, "the protocol is gptq. Got '", options.protocol, "'.");
  Perplexity result;
  result.protocol = options.protocol;
  result.model = model.info();
  const int64_t most = result.model.max_length;
  result.length = options.length == 0 ? std::min<int64_t>(2048, most) : options.length;
  check(result.length >= 2 && result.length <= most, here, "length lies in [2, ", most,
        "], the positions the model has. Got ", options.length, ".");
  check(tokenizer.vocabulary() <= result.model.vocabulary, here,
        "the tokenizer must not make ids that the model lacks. Got ", tokenizer.vocabulary(),
        " ids for a vocabulary of ", result.model.vocabulary, ".");

  const std::string text = read_text(file);
  result.file = std::filesystem::path(file).filename().string();
  result.file_sha256 = sha256(text);
  result.tokenizer = tokenizer.fingerprint();
  const std::vector<int64_t> ids = tokenizer.encode(text);
  result.tokens = static_cast<int64_t>(ids.size());
  result.windows = result.tokens / result.length;
  result.dropped = result.tokens - result.windows * result.length;
  result.scored = result.windows * (result.length - 1);
  check(result.windows >= 1, here, "the text must fill one window of ", result.length,
        " tokens. Got ", result.tokens, " tokens in ", file, ".");

  const ProgressReporter progress(options.progress);
  const int64_t batch = windows_at_once(result.length, result.model.vocabulary);
  double sum = 0;
  for (int64_t begin = 0; begin < result.windows; begin += batch) {
    progress.report({.stage = "score",
                     .name = "perplexity " + result.file,
                     .done = begin,
                     .total = result.windows});
    std::vector<std::vector<int64_t>> windows;
    for (int64_t i = begin; i < std::min(begin + batch, result.windows); ++i) {
      const auto first = ids.begin() + i * result.length;
      windows.emplace_back(first, first + result.length);
    }
    const TargetScores scores = score_tokens(model, windows, 1);
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const auto from =
          scores.log_probability.begin() + static_cast<int64_t>(i) * (result.length - 1);
      const double total = -std::accumulate(from, from + (result.length - 1), 0.0);
      if (!std::isfinite(total)) {
        throw NumericalError(c10::str("[perplexity] log-likelihoods must be finite. Got ", total,
                                      " in window ", begin + static_cast<int64_t>(i), " of ",
                                      result.file,
                                      "; the model's weights or activations overflow."));
      }
      result.window_losses.push_back(total / static_cast<double>(result.length - 1));
      sum += total;
    }
  }
  result.loss = sum / static_cast<double>(result.scored);
  result.value = std::exp(result.loss);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
