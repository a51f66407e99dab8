#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

struct PerplexityOptions {
  /// Tokens a window; 0 = min(2048, the model's positions), for "llamacpp" min(512, ...), for
  /// "harness" all of the model's positions.
  int64_t length = 0;
  std::string protocol = "gptq";  ///< "gptq", "harness", "llamacpp" or "strided"
  int64_t stride = 0;             ///< of "strided" alone; 0 = length / 2
  /// Begin-of-sequence token: "auto" as the tokenizer's own configuration says, "always", "never".
  std::string bos = "auto";
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
  std::vector<double> window_losses;  ///< mean nats of each block, for paired comparison
  double seconds = 0;

  int64_t stride = 0;                   ///< tokens between the starts of two windows
  std::string bos = "auto";             ///< the option
  std::vector<int64_t> window_tokens;   ///< scored tokens of each block
  double standard_error = kUnknown;     ///< of loss, over blocks; NaN for a single one
  int64_t documents = 0;                ///< 1 where the protocol takes the file as one text
  int64_t skipped = 0;                  ///< documents without a token to score
  int64_t words = 0, bytes = 0;         ///< of the text as it stands in the file
  double word_perplexity = kUnknown;    ///< exp(nats per word); NaN except for "harness"
  double byte_perplexity = kUnknown;    ///< exp(nats per UTF-8 byte); NaN except for "harness"
  double bits_per_byte = kUnknown;      ///< NaN except for "harness"
  std::vector<std::string> notes = {};  ///< what else happened to the tokens

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// Perplexity of the text of `file`. The protocols differ by factors, so the result names its own:
///
/// - "gptq", of the GPTQ, SparseGPT and Wanda papers: the text is encoded whole (special tokens
///   once) and cut into disjoint windows; the tail is dropped; in each window tokens
///   1 .. length-1 are predicted from those before them in the same window.
/// - "harness", lm-eval's wikitext task: each document (a "text" of .jsonl or .jsonl.gz, an article
///   of wiki.*.raw, or else the file) is detokenised by the task's rules and encoded by itself; each
///   token is predicted once in rolling windows that begin with BOS (else EOS), later ones with the
///   token before, and the last window is filled up from behind. Words and bytes are those of the
///   text before detokenising.
/// - "llamacpp", llama.cpp's perplexity tool: disjoint windows whose first token gives way to BOS
///   when the tokenizer adds one; tokens length/2+1 .. length-1 of each are scored; the text must
///   fill two windows.
/// - "strided", of Hugging Face's documentation: windows of `length` every `stride` tokens, each
///   scores what the one before did not reach. Every token after the first counts once.
///
/// A block is a window, for "harness" a document. Log-sum-exp in float32, sums in float64.
/// std::invalid_argument when the text is too short or `length` exceeds the model's positions;
/// NumericalError naming the block when a log-likelihood is not finite.
Perplexity perplexity(TokenModel& model, const Tokenizer& tokenizer, const std::string& file,
                      const PerplexityOptions& options = {});

}  // namespace cupel
