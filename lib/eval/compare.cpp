#include "cupel/eval/compare.h"

#include <cmath>
#include <limits>

#include "cupel/core/check.h"

namespace cupel {

namespace {

template <typename Value>
void check_same(const std::string& task, const char* what, const Value& dense,
                const Value& compressed) {
  check(dense == compressed, "compare", "both models must be scored alike. Got ", task, " with ",
        what, " ", dense, " and ", compressed, ".");
}

PairedPerplexity pair(const std::string& task, const Perplexity& dense,
                      const Perplexity& compressed) {
  check_same(task, "protocol", dense.protocol, compressed.protocol);
  check_same(task, "length", dense.length, compressed.length);
  check_same(task, "text", dense.file_sha256, compressed.file_sha256);
  check_same(task, "tokenizer", dense.tokenizer, compressed.tokenizer);
  check_same(task, "windows", dense.window_losses.size(), compressed.window_losses.size());
  PairedPerplexity pair{task,
                        dense.value,
                        compressed.value,
                        compressed.value / dense.value,
                        compressed.loss - dense.loss,
                        std::numeric_limits<double>::quiet_NaN()};
  const auto n = static_cast<double>(dense.window_losses.size());
  double squares = 0;
  for (std::size_t i = 0; i < dense.window_losses.size(); ++i) {
    const double difference = compressed.window_losses[i] - dense.window_losses[i];
    squares += (difference - pair.loss_difference) * (difference - pair.loss_difference);
  }
  if (n > 1) pair.standard_error = std::sqrt(squares / (n - 1) / n);
  return pair;
}

}  // namespace

Comparison compare(const Scores& dense, const Scores& compressed) {
  Comparison comparison;
  for (const auto& [task, perplexity] : compressed.perplexities) {
    const auto other = dense.perplexities.find(task);
    if (other == dense.perplexities.end()) continue;
    comparison.perplexities.push_back(pair(task, other->second, perplexity));
  }
  check(!comparison.perplexities.empty(), "compare", "the two evaluations share no task.");
  return comparison;
}

}  // namespace cupel
