#include "eval/tasks/answer_values.h"

#include "cupel/eval/text_figures.h"

namespace cupel {

void add_answer_values(const std::vector<std::string>& answers,
                       const std::vector<TaskOutput>& outputs,
                       std::map<std::string, double>& values) {
  if (answers.empty()) return;
  const auto turns = static_cast<double>(answers.size());
  for (const auto& answer : answers) {
    const TextFigures figures = text_figures(answer);
    values["words"] += static_cast<double>(figures.words) / turns;
    values["unique_tokens"] += static_cast<double>(figures.unique_words) / turns;
    // Two results are compared item by item, so an answer too short for n-grams has values as well.
    values["distinct_2"] += figures.distinct_2.value_or(1) / turns;
    values["repeated_4"] += figures.repeated_4.value_or(0) / turns;
  }
  double tokens = 0;
  for (const auto& output : outputs) tokens += static_cast<double>(output.generation.tokens);
  values["tokens"] = tokens / turns;
}

}  // namespace cupel
