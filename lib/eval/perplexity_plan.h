#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/eval/perplexity.h"

namespace cupel {

/// Tokens first .. tokens-1 of a span are scored after those before them in the span.
struct PerplexityWindow {
  int64_t sequence;  ///< of PerplexityPlan::sequences
  int64_t begin;     ///< of the span in the sequence
  int64_t tokens;    ///< of the span; the model reads all but the last
  int64_t first;     ///< at least 1
  int64_t block;
};

/// Windows that run together: [begin, end).
struct PerplexityBatch {
  int64_t begin, end;
};

/// Everything about a perplexity but the model's part. Depends on the file, the tokenizer, the
/// options and the model's info alone, so that a run can be cut into batches and taken up again.
struct PerplexityPlan {
  std::vector<std::vector<int64_t>> sequences;  ///< ids, each once: the text, or each document
  std::vector<PerplexityWindow> windows;        ///< blocks ascend
  std::vector<int64_t> blocks;                  ///< number of each block's window or document
  std::vector<PerplexityBatch> batches;         ///< cover the windows in order
  Perplexity result;                            ///< all that is known before the first forward
};

/// Sum over the scored tokens of one window.
struct BlockSum {
  int64_t window = 0;
  double nats = 0;
  int64_t tokens = 0;
};

/// std::invalid_argument for options or a text that do not work, FormatError for a bad file.
PerplexityPlan plan_perplexity(const TokenModelInfo& info, const Tokenizer& tokenizer,
                               const std::string& file, const PerplexityOptions& options);

/// Runs one batch. NumericalError naming the block when a sum is not finite.
std::vector<BlockSum> score_batch(TokenModel& model, const PerplexityPlan& plan,
                                  const PerplexityBatch& batch);

/// The result from the sums of all windows, in any order; its bytes do not depend on the batches.
/// std::invalid_argument unless every window of the plan is there once.
Perplexity summarise(const PerplexityPlan& plan, const std::vector<BlockSum>& sums);

/// The block's name in a message: "window 3 of text.txt".
std::string block_name(const PerplexityPlan& plan, int64_t block);

}  // namespace cupel
