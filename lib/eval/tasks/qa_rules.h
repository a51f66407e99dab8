#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/eval/task.h"

// Rules that the question-answering tasks share.

namespace cupel {

/// The value of an option that is one of a few; std::invalid_argument naming them otherwise.
std::string choose(const TaskOptions& options, const std::string& task, const std::string& name,
                   const std::vector<std::string>& known);

/// New tokens for a prompt.
struct AnswerRoom {
  int64_t tokens = 0;
  bool fits = true;  ///< false: not even one; the question is then not asked
  bool cut = false;  ///< less than was wanted
};

/// As many new tokens as are wanted and the model's positions leave; all of them where lengths are
/// unknown.
AnswerRoom answer_room(const TextMeasure& measure, const std::string& prompt, int64_t wanted);

/// What is wrong with gold answers by a normaliser: "no_gold" where there is none, "empty_gold" where
/// nothing is left of one.
std::vector<std::string> gold_flags(const std::vector<std::string>& gold,
                                    std::string (*normalize)(std::string_view));

/// The text before the first line end, without white space around it.
std::string first_line(std::string_view text);

/// Appends what is not there yet.
void add_distinct(std::vector<std::string>& list, const std::vector<std::string>& more);

}  // namespace cupel
