#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/eval/scorer.h"
#include "eval/tasks/mmlu_questions.h"

namespace cupel {

/// Prompts of one subject that fit the model.
class MmluFitter {
 public:
  /// `heads` as mmlu_heads() makes them. The measure may be unknown: then everything fits.
  MmluFitter(const TextMeasure& measure, MmluForm form, const std::vector<std::string>& heads);

  struct Fit {
    int64_t shots = 0;
    /// The whole prompt, where even without shots it had to lose its beginning; else empty.
    std::string cut = {};
    bool is_cut = false;
  };

  /// As many shots as leave room for each of the continuations and, for a generation, for one new
  /// token. Without any, the question loses its beginning; where that is not enough the prompt does.
  Fit fit(const MmluQuestion& question, const std::vector<std::string>& continuations) const;

 private:
  int64_t excess(const std::string& prompt, const std::vector<std::string>& continuations) const;
  Fit cut(const MmluQuestion& question, const std::vector<std::string>& continuations) const;

  const TextMeasure& measure_;
  MmluForm form_;
  const std::vector<std::string>& heads_;
  std::vector<int64_t> head_tokens_;
};

}  // namespace cupel
