#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cupel/eval/evaluate.h"
#include "cupel/eval/statistics.h"

namespace cupel {

struct CompareOptions {
  uint64_t seed = 0;       ///< of the bootstrap
  int64_t draws = 10000;   ///< of the bootstrap
  double matching = 0.95;  ///< share of the dense score that a matching model keeps
  double level = 0.95;     ///< of confidence intervals
};

/// One perplexity of a compressed model beside its dense one, block by block (see paired_loss()).
/// The errors and intervals are NaN for a single block.
struct PairedPerplexity {
  std::string task;
  double dense = 0, compressed = 0;  ///< perplexities
  double ratio = 0;                  ///< compressed / dense
  double loss_difference = 0;        ///< nats per token, compressed - dense
  double standard_error = 0;         ///< of loss_difference, over blocks
  double low = 0, high = 0;          ///< interval of loss_difference
  std::string protocol = "";
  int64_t blocks = 0;                    ///< windows or documents
  double ratio_low = 0, ratio_high = 0;  ///< interval of the ratio
};

/// One value of a task's items under two models. `difference` is compressed - dense, its interval
/// from paired_bootstrap(), within categories where each has two items or more. What needs right
/// and wrong answers is there for values that are all 0 or 1, and NaN or 0 for others.
struct PairedTask {
  std::string task, protocol, metric;
  int64_t items = 0;
  double dense = 0, compressed = 0;  ///< means
  double difference = 0, standard_error = 0, low = 0, high = 0;
  double p = kUnknown;       ///< of McNemar's test, see mcnemar()
  double p_holm = kUnknown;  ///< adjusted for all tests of the comparison, see holm()
  Flips flips = {};          ///< answers are the items' predictions
  double minimum_detectable_effect = kUnknown;  ///< at these flips and p < 1 - level, power 0.8
  /// "matching", "not matching" or "undecided": whether compressed >= matching * dense, see
  /// matching_verdict(); "" for values below 0.
  std::string verdict = "";

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

struct Comparison {
  std::vector<PairedPerplexity> perplexities;
  std::vector<PairedTask> tasks;
  std::vector<std::string> unpaired = {};  ///< tasks that one side alone has
  std::vector<std::string> notes = {};
  CompareOptions options = {};

  std::string to_json() const;
  std::string to_markdown() const;
};

/// Pairs what both evaluations hold. std::invalid_argument naming the first difference when a task
/// was not run alike: data, items, requests, protocols, options, tokenizer, seed, limit or the
/// scorer's settings. Such numbers do not compare.
Comparison compare(const EvalResult& dense, const EvalResult& compressed,
                   const CompareOptions& options = {});

}  // namespace cupel
