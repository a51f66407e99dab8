#include "eval/tasks/answer_checks.h"

#include <algorithm>
#include <map>

#include "core/regex.h"
#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/text_figures.h"
#include "eval/tasks/answer_values.h"

namespace cupel {

namespace {

enum class Value { texts, number, none };

const std::map<std::string, Value>& kinds() {
  static const std::map<std::string, Value> known{{"contains", Value::texts},
                                                  {"not_contains", Value::texts},
                                                  {"starts_with", Value::texts},
                                                  {"ends_with", Value::texts},
                                                  {"equals", Value::texts},
                                                  {"regex", Value::texts},
                                                  {"words_at_most", Value::number},
                                                  {"words_at_least", Value::number},
                                                  {"lines", Value::number},
                                                  {"upper", Value::none},
                                                  {"lower", Value::none}};
  return known;
}

// A Regex matches at the start only.
Regex searching(const std::string& pattern) { return Regex("(?s:.*?)(?:" + pattern + ")"); }

// Letters of ASCII, at least one of them of this kind and none of the other.
bool all_letters(const std::string& text, bool upper) {
  bool any = false;
  for (const char c : text) {
    const bool large = c >= 'A' && c <= 'Z', small = c >= 'a' && c <= 'z';
    if (upper ? small : large) return false;
    any = any || large || small;
  }
  return any;
}

}  // namespace

AnswerCheck read_check(const Json& json, const std::function<void(const std::string& rule)>& fail) {
  const auto refuse = [&](const std::string& rule) {
    fail(c10::str("a check ", rule, " Got ", printable(dump_json(json), 120), "."));
  };
  AnswerCheck made;
  if (!json.is_object() || !json.contains("kind") || !json.at("kind").is_string()) {
    refuse("is {\"kind\": ..., \"value\": ...}.");
  }
  made.kind = json.at("kind").get<std::string>();
  const auto found = kinds().find(made.kind);
  if (found == kinds().end()) {
    std::string known;
    for (const auto& kind : kinds()) known += (known.empty() ? "" : ", ") + kind.first;
    refuse("has one of the kinds " + known + ".");
  }
  for (const auto& entry : json.items()) {
    if (entry.key() != "kind" && entry.key() != "value" && entry.key() != "turn") {
      refuse("has the fields kind, value and turn.");
    }
  }
  const Json value = json.contains("value") ? json.at("value") : Json();
  if (found->second == Value::none && !value.is_null()) refuse("of this kind takes no value.");
  if (found->second == Value::number) {
    if (!value.is_number_integer() || value.get<int64_t>() < 0) {
      refuse("of this kind takes a whole number from 0.");
    }
    made.number = value.get<int64_t>();
  }
  if (found->second == Value::texts) {
    if (value.is_string()) made.texts = {value.get<std::string>()};
    if (value.is_array()) {
      for (const auto& one : value) {
        if (!one.is_string()) refuse("of this kind takes a text, or a list of them.");
        made.texts.push_back(one.get<std::string>());
      }
    }
    if (made.texts.empty()) refuse("of this kind takes a text, or a list of them.");
    const bool empty = std::any_of(made.texts.begin(), made.texts.end(),
                                   [](const std::string& text) { return text.empty(); });
    if (empty && made.kind != "equals") refuse("of this kind takes a text that is not empty.");
  }
  if (json.contains("turn")) {
    if (!json.at("turn").is_number_integer() || json.at("turn").get<int64_t>() < 1) {
      refuse("counts turns from 1.");
    }
    made.turn = json.at("turn").get<int64_t>();
  }
  if (made.kind == "regex") {
    for (const auto& pattern : made.texts) {
      try {
        searching(pattern);
      } catch (const std::invalid_argument&) {
        refuse("of kind regex takes a regular expression (PCRE2).");
      }
    }
  }
  return made;
}

bool follows(const AnswerCheck& check, const std::string& given) {
  const std::string answer(strip_white_space(given));
  const std::string& kind = check.kind;
  const auto all = [&](const auto& holds) {
    return std::all_of(check.texts.begin(), check.texts.end(), holds);
  };
  const auto any = [&](const auto& holds) {
    return std::any_of(check.texts.begin(), check.texts.end(), holds);
  };
  const auto has = [&](const std::string& text) { return answer.find(text) != std::string::npos; };
  if (kind == "contains") return all(has);
  if (kind == "not_contains") return !any(has);
  if (kind == "starts_with") return any([&](const auto& text) { return answer.starts_with(text); });
  if (kind == "ends_with") return any([&](const auto& text) { return answer.ends_with(text); });
  if (kind == "equals")
    return any([&](const auto& text) { return answer == strip_white_space(text); });
  if (kind == "regex")
    return all([&](const auto& text) { return searching(text).matches(answer); });
  if (kind == "lines") return static_cast<int64_t>(lines_of(answer).size()) == check.number;
  if (kind == "upper" || kind == "lower") return all_letters(answer, kind == "upper");
  const auto words = static_cast<int64_t>(split_words(answer).size());
  return kind == "words_at_most" ? words <= check.number : words >= check.number;
}

}  // namespace cupel
