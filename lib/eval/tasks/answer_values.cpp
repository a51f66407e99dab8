#include "eval/tasks/answer_values.h"

#include <algorithm>

#include "cupel/core/unicode.h"
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

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line(strip_white_space(std::string_view(text).substr(begin, end - begin)));
    if (!line.empty()) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

}  // namespace cupel
