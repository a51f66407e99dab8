#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

struct PerplexityOptions {
  int64_t length = 0;             ///< tokens a window; 0 = min(2048, the model's positions)
  std::string protocol = "gptq";  ///< the only one so far
  ProgressFunction progress = {};
};

/// A perplexity with everything needed to compare it with another one.
struct Perplexity {
  double value = 0;  ///< exp(loss)
  double loss = 0;   ///< nats per scored token
  std::string protocol;
  int64_t length = 0;  ///< tokens a window
  int64_t windows = 0;
  int64_t tokens = 0;   ///< in the whole text
  int64_t scored = 0;   ///< tokens that were predicted
  int64_t dropped = 0;  ///< tokens of the tail that fill no window
  std::string file;     ///< base name
  std::string file_sha256;
  std::string tokenizer;  ///< fingerprint
  TokenModelInfo model;
  std::vector<double> window_losses;  ///< mean nats of each window, for paired comparison
  double seconds = 0;
};

/// Perplexity of the text of `file` by the protocol of the GPTQ, SparseGPT and Wanda papers: the
/// text is encoded whole (special tokens once), cut into disjoint windows of `length` tokens, the
/// tail is dropped; in each window tokens 1 .. length-1 are predicted from those before them in the
/// same window. Log-sum-exp in float32, sums in float64. std::invalid_argument when the text has no
/// whole window or `length` exceeds the model's positions.
Perplexity perplexity(TokenModel& model, const Tokenizer& tokenizer, const std::string& file,
                      const PerplexityOptions& options = {});

}  // namespace cupel
