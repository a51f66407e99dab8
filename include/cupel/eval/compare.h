#pragma once

#include <string>
#include <vector>

#include "cupel/eval/evaluate.h"

namespace cupel {

/// One task of a compressed model beside its dense one, window by window.
struct PairedPerplexity {
  std::string task;
  double dense = 0, compressed = 0;  ///< perplexities
  double ratio = 0;                  ///< compressed / dense
  double loss_difference = 0;        ///< nats per token, compressed - dense
  double standard_error = 0;         ///< of loss_difference, over windows (NaN for one window)
};

struct Comparison {
  std::vector<PairedPerplexity> perplexities;
};

/// Pairs what both evaluations hold. std::invalid_argument when a task was scored on another text,
/// tokenizer, protocol or length: such numbers do not compare.
Comparison compare(const Scores& dense, const Scores& compressed);

}  // namespace cupel
