#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/text/tokenizer.h"

namespace cupel {

/// Calibration token ids: one int64 [length] tensor a sample; lengths may differ (no padding).
struct Calibration {
  std::vector<torch::Tensor> samples;
  std::string source;         ///< file name, or "tokens"
  std::string source_sha256;  ///< of the file's bytes; empty for tokens
  std::string rule;           ///< how the windows were drawn
  int64_t seed = 0;
  int64_t documents_tried = 0;  ///< .jsonl only
  std::string notes;

  Calibration() = default;
  Calibration(const torch::Tensor& tokens);         // int64 [samples, length] or [length]
  Calibration(std::vector<torch::Tensor> samples);  // each int64 [length]

  int64_t tokens() const;
  /// SHA-256 over the number of samples, their lengths and ids.
  std::string hash() const;
  /// Throws std::invalid_argument naming the sample: empty set, empty sample, not integer, an id
  /// outside [0, vocabulary).
  void validate(int64_t vocabulary) const;
};

struct WindowOptions {
  int64_t samples = 128;
  int64_t length = 2048;
  int64_t seed = 0;
  std::string field = "text";       ///< of a .jsonl record
  int64_t max_documents_tried = 0;  ///< .jsonl: 0 = 100 x samples + 10 x documents
};

/// Draws `samples` windows of `length` tokens with the papers' sampling (Python's random.seed and
/// randint, so that the same draws come out).
///
/// .txt: the whole file is encoded once (special tokens once), start = randint(0, L - length - 1).
/// .jsonl, .jsonl.gz: document = randint(0, documents - 1) until one is longer than `length`
/// tokens, then a window of it. Documents are encoded at most once. Too little text is an error
/// that says how much there is and how much is needed.
Calibration sample_windows(const std::string& path, const Tokenizer& tokenizer,
                           const WindowOptions& options = {});

}  // namespace cupel
