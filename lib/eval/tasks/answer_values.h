#pragma once

#include <map>
#include <string>
#include <vector>

#include "cupel/eval/task.h"

namespace cupel {

/// Figures of an item's answers, the mean over its turns: "words", "unique_tokens" (different words),
/// "tokens" of the model, "distinct_2" (1 for an answer of less than two words) and "repeated_4" (0 for
/// less than four).
void add_answer_values(const std::vector<std::string>& answers,
                       const std::vector<TaskOutput>& outputs,
                       std::map<std::string, double>& values);

/// The lines of a text that are more than white space, without what stands at their ends.
std::vector<std::string> lines_of(const std::string& text);

}  // namespace cupel
