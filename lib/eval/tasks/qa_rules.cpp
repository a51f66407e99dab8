#include "eval/tasks/qa_rules.h"

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

std::string choose(const TaskOptions& options, const std::string& task, const std::string& name,
                   const std::vector<std::string>& known) {
  const std::string& value = options.text(name);
  std::string names;
  for (const auto& one : known) names += (names.empty() ? "" : ", ") + one;
  check(std::find(known.begin(), known.end(), value) != known.end(), "evaluate", task, ":", name,
        " is one of ", names, ". Got '", value, "'.");
  return value;
}

AnswerRoom answer_room(const TextMeasure& measure, const std::string& prompt, int64_t wanted) {
  if (!measure.known()) return {.tokens = wanted};
  const int64_t left = measure.limit - measure.count(prompt);
  return {.tokens = std::clamp<int64_t>(left, 0, wanted), .fits = left >= 1, .cut = left < wanted};
}

std::vector<std::string> gold_flags(const std::vector<std::string>& gold,
                                    std::string (*normalize)(std::string_view)) {
  if (gold.empty()) return {"no_gold"};
  const bool empty = std::any_of(gold.begin(), gold.end(), [&](const std::string& answer) {
    return normalize(answer).empty();
  });
  return empty ? std::vector<std::string>{"empty_gold"} : std::vector<std::string>{};
}

std::string first_line(std::string_view text) {
  return std::string(strip_white_space(text.substr(0, text.find('\n'))));
}

void add_distinct(std::vector<std::string>& list, const std::vector<std::string>& more) {
  for (const auto& text : more) {
    if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
  }
}

}  // namespace cupel
