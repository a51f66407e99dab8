#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

struct DivergenceOptions {
  int64_t length = 0;  ///< tokens a window; 0 = min(2048, the positions that both models have)
  ProgressFunction progress = {};
};

/// How far a compressed model's predictions are from the dense one's, token by token. A block is a
/// window; a standard error is NaN for a single one.
struct Divergence {
  // KL(dense || compressed) of the next-token distributions, nats, over the scored tokens.
  double mean_kl = 0, median_kl = 0, p99_kl = 0, max_kl = 0;
  double kl_standard_error = kUnknown;  ///< of mean_kl, over blocks

  double top1_agreement = 0;  ///< share of tokens where both have the same likeliest one
  /// Probability of the true token, compressed - dense.
  double delta_p_mean = 0, delta_p_rms = 0;

  double dense_loss = 0, compressed_loss = 0;  ///< nats per scored token; exp is the perplexity
  double log_ratio = 0;                        ///< ln(perplexity ratio), compressed / dense
  double log_ratio_standard_error = kUnknown;  ///< paired, over blocks

  int64_t length = 0, windows = 0;
  int64_t tokens = 0;                     ///< in the whole text
  int64_t scored = 0;                     ///< tokens that were predicted
  int64_t dropped = 0;                    ///< tokens of the tail that fill no window
  std::vector<double> window_kl;          ///< mean of each block
  std::vector<double> window_log_ratios;  ///< log_ratio of each block
  std::string file;                       ///< base name
  std::string file_sha256;
  std::string tokenizer;  ///< fingerprint
  TokenModelInfo dense, compressed;
  double seconds = 0;

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// Runs both models over the windows of the perplexity protocol "gptq", side by side: no logits are
/// stored beyond 32 MB. float32 logits, everything behind them in float64. What is measured follows
/// llama.cpp's `--kl-divergence`, without its 16-bit log-probabilities.
///
/// std::invalid_argument when the vocabularies differ, the text has no whole window or `length`
/// exceeds the positions of a model. NumericalError naming the window when a number is not finite.
Divergence divergence(TokenModel& dense, TokenModel& compressed, const Tokenizer& tokenizer,
                      const std::string& file, const DivergenceOptions& options = {});

}  // namespace cupel
