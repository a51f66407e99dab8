#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/task.h"

namespace cupel {

/// mean_metrics(), whose categories are the subjects, and over all items "accuracy_macro" (mean of
/// the subjects' accuracies), "invalid_rate" (items with the flag "invalid"),
/// "constant_answer_accuracy" (of the one letter that is right most often) and "shots" (mean number,
/// `asked` but for items with a flag "shots_K"). Each value and "items" also stand for groups of
/// subjects, every question with the same weight: "accuracy/subcategory:math",
/// "accuracy/category:STEM".
std::map<std::string, double> mmlu_metrics(const std::vector<ItemScore>& scores, int64_t asked);

}  // namespace cupel
