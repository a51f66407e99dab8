// Replies -> grades. Scanners by hand: replies are somebody else's text, and the library's regular
// expressions recurse on long ones.
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "core/json.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/judge_parser.h"

namespace cupel {

namespace {

using Text = std::string_view;

const std::vector<std::string> kAxes{"coherence", "consistency", "fluency", "relevance"};

JudgeGrades none(const std::string& why) { return {.unparsed = why}; }

bool digit(char c) { return c >= '0' && c <= '9'; }
bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

void skip_blanks(Text text, std::size_t& at) {
  while (at < text.size() && blank(text[at])) ++at;
}

// Digits, perhaps a point and more digits, at `at`, which moves behind them.
std::optional<double> number(Text text, std::size_t& at) {
  const std::size_t begin = at;
  std::size_t end = at;
  while (end < text.size() && digit(text[end])) ++end;
  if (end == begin) return std::nullopt;
  if (end < text.size() && text[end] == '.') ++end;
  while (end < text.size() && digit(text[end])) ++end;
  double value = 0;
  std::from_chars(text.data() + begin, text.data() + end, value);
  at = end;
  return value;
}

// The same with a sign, and nothing else in the text.
std::optional<double> whole_number_text(Text text) {
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  std::size_t at = 0;
  const auto value = number(text, at);
  if (!value || at != text.size()) return std::nullopt;
  return minus ? -*value : *value;
}

std::vector<Text> words(Text line) {
  std::vector<Text> found;
  for (std::size_t at = 0;;) {
    skip_blanks(line, at);
    if (at == line.size()) return found;
    std::size_t end = at;
    while (end < line.size() && !blank(line[end])) ++end;
    found.push_back(line.substr(at, end - at));
    at = end;
  }
}

std::vector<Text> lines(Text text, std::size_t most) {
  std::vector<Text> found;
  while (found.size() < most) {
    const std::size_t end = text.find('\n');
    found.push_back(text.substr(0, end));
    if (end == Text::npos) break;
    text.remove_prefix(end + 1);
  }
  return found;
}

// Two numbers, and nothing else.
std::optional<std::vector<double>> two_numbers(Text line) {
  const std::vector<Text> parts = words(line);
  if (parts.size() != 2) return std::nullopt;
  const auto a = whole_number_text(parts[0]), b = whole_number_text(parts[1]);
  if (!a || !b) return std::nullopt;
  return std::vector<double>{*a, *b};
}

bool in_range(double value) { return value >= 1 && value <= 10; }

JudgeGrades as_published(std::vector<double> values) {
  JudgeGrades grades{.values = std::move(values)};
  for (const double value : grades.values) {
    if (!in_range(value)) grades.flags = {"out_of_range"};
  }
  return grades;
}

JudgeGrades checked(std::vector<double> values) {
  for (const double value : values) {
    if (!in_range(value)) return none(c10::str("the grade ", value, " is not from 1 to 10"));
  }
  return {.values = std::move(values)};
}

// `count` numbers between brackets, the first such group: "[[7]]", "[7]", "[[7, 8]]".
std::optional<std::vector<double>> first_brackets(Text text, Text open, Text close,
                                                  std::size_t count) {
  for (std::size_t at = text.find(open); at != Text::npos; at = text.find(open, at + 1)) {
    std::size_t end = at + open.size();
    std::vector<double> values;
    while (values.size() < count) {
      if (!values.empty()) {
        if (end >= text.size() || text[end] != ',') break;
        ++end;
        if (end < text.size() && std::isspace(static_cast<unsigned char>(text[end]))) ++end;
      }
      const auto value = number(text, end);
      if (!value) break;
      values.push_back(*value);
    }
    if (values.size() == count && text.substr(end).starts_with(close)) return values;
  }
  return std::nullopt;
}

JudgeGrades fastchat(const std::string& reply, std::size_t count) {
  auto found = first_brackets(reply, "[[", "]]", count);
  if (!found) found = first_brackets(reply, "[", "]", count);
  return found ? as_published(*found) : none("no [[grade]]");
}

JudgeGrades preference(char choice) {
  if (choice == 'C') return {.values = {0.5, 0.5}};
  return {.values = {choice == 'A' ? 1.0 : 0.0, choice == 'B' ? 1.0 : 0.0}};
}

JudgeGrades fastchat_choice(const std::string& reply) {
  for (const char choice : {'A', 'B', 'C'}) {
    if (reply.find(std::string("[[") + choice + "]]") != std::string::npos) {
      return preference(choice);
    }
  }
  return none("no [[A]], [[B]] or [[C]]");
}

JudgeGrades last_choice(const std::string& reply) {
  std::size_t last = 0;
  char chosen = 0;
  for (const char choice : {'A', 'B', 'C'}) {
    const std::size_t at = reply.rfind(std::string("[[") + choice + "]]");
    if (at != std::string::npos && (!chosen || at > last)) {
      last = at;
      chosen = choice;
    }
  }
  return chosen ? preference(chosen) : none("no [[A]], [[B]] or [[C]]");
}

JudgeGrades last_grade(const std::string& reply) {
  constexpr std::size_t kWidest = 40;
  const Text text = reply;
  for (std::size_t at = text.rfind("[["); at != Text::npos;
       at = at == 0 ? Text::npos : text.rfind("[[", at - 1)) {
    const Text behind = text.substr(at + 2, kWidest);
    const std::size_t end = behind.find("]]");
    if (end == Text::npos) continue;
    const std::vector<Text> inside = words(behind.substr(0, end));
    if (inside.size() != 1) continue;
    if (const auto value = whole_number_text(inside[0])) return checked({*value});
  }
  return none("no [[grade]]");
}

// The last JSON object of the reply that has all of `keys`; objects hold no others.
JudgeGrades last_object(const std::string& reply, const std::vector<std::string>& keys) {
  constexpr std::size_t kLongest = 1000;
  const std::string missing = "no JSON object with " + keys.front();
  for (std::size_t at = reply.rfind('{'); at != std::string::npos;
       at = at == 0 ? std::string::npos : reply.rfind('{', at - 1)) {
    const std::size_t end = reply.find('}', at);
    if (end == std::string::npos || end - at > kLongest) continue;
    Json object;
    try {
      object = parse_json(Text(reply).substr(at, end - at + 1), "reply");
    } catch (const FormatError&) {
      continue;
    }
    std::vector<double> values;
    for (const auto& key : keys) {
      if (object.contains(key) && object.at(key).is_number()) {
        values.push_back(object.at(key).get<double>());
      }
    }
    if (values.size() == keys.size()) return checked(std::move(values));
  }
  return none(missing);
}

JudgeGrades two_scores(const std::string& reply) {
  std::string first(lines(reply, 1).front());
  for (char& c : first) c = c == ',' ? ' ' : c;
  const auto found = two_numbers(first);
  return found ? as_published(*found) : none("the first line is not two scores");
}

// "8.5/10 for Assistant 1, 9/10 for Assistant 2" at the beginning.
std::optional<std::vector<double>> out_of_ten(Text text) {
  std::size_t at = 0;
  std::vector<double> values;
  for (const char which : {'1', '2'}) {
    const auto value = number(text, at);
    const std::string rest = std::string("/10 for Assistant ") + which;
    if (!value || !text.substr(at).starts_with(rest)) return std::nullopt;
    values.push_back(*value);
    at += rest.size();
    if (which == '2') break;
    if (!text.substr(at).starts_with(",")) return std::nullopt;
    ++at;
    skip_blanks(text, at);
  }
  return values;
}

// The last "(8, 9)" with both from 1 to 10: a coordinate in a worked answer is passed over as far as
// its numbers show it.
std::optional<std::vector<double>> last_tuple(Text text) {
  for (std::size_t open = text.rfind('('); open != Text::npos;
       open = open == 0 ? Text::npos : text.rfind('(', open - 1)) {
    std::size_t at = open + 1;
    skip_blanks(text, at);
    const auto a = number(text, at);
    skip_blanks(text, at);
    if (!a || at >= text.size() || text[at] != ',') continue;
    ++at;
    skip_blanks(text, at);
    const auto b = number(text, at);
    skip_blanks(text, at);
    if (!b || at >= text.size() || text[at] != ')') continue;
    if (in_range(*a) && in_range(*b)) return std::vector<double>{*a, *b};
  }
  return std::nullopt;
}

JudgeGrades two_scores_recovered(const std::string& reply) {
  const JudgeGrades plain = two_scores(reply);
  if (plain.unparsed.empty()) return checked(plain.values);
  auto found = out_of_ten(reply);
  if (!found) found = last_tuple(reply);
  if (!found) return none("neither two scores in the first line nor a tuple of two");
  JudgeGrades grades = checked(*found);
  if (grades.unparsed.empty()) grades.flags.emplace_back("recovered");
  return grades;
}

JudgeGrades four_lines(const std::string& reply) {
  const std::vector<Text> found = lines(reply, 4);
  std::vector<double> values;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto pair = i < found.size() ? two_numbers(found[i]) : std::nullopt;
    if (!pair) return none(c10::str("line ", i + 1, " is not two scores"));
    values.insert(values.end(), pair->begin(), pair->end());
  }
  return as_published(std::move(values));
}

}  // namespace

JudgeGrades JudgeParser::read(const std::string& reply) const {
  JudgeGrades made = parse(reply);
  if (!made.unparsed.empty()) {
    made.values.clear();
    return made;
  }
  const std::size_t wanted = grades.size() * static_cast<std::size_t>(assistants);
  check(made.values.size() == wanted, "judge", "a parser returns ", wanted,
        " grades, or says why there are none. Got ", made.values.size(), " from '",
        printable(reply, 60), "'.");
  for (const double value : made.values) {
    if (!std::isfinite(value)) return none("a grade is not finite");
  }
  return made;
}

Registry<JudgeParser>& judge_parsers() {
  static auto* registry = [] {
    auto* made = new Registry<JudgeParser>("judge parser");
    made->add("grade", {.description = "the last [[x]], from 1 to 10", .parse = last_grade});
    made->add("choice", {.description = "the last of [[A]], [[B]] and [[C]] (a tie)",
                         .grades = {"preference"},
                         .assistants = 2,
                         .lowest = 0,
                         .highest = 1,
                         .parse = last_choice});
    made->add("axes", {.description = "the last JSON object with the four axes, each from 1 to 10",
                       .grades = kAxes,
                       .parse = [](const auto& reply) { return last_object(reply, kAxes); }});
    made->add("json", {.description = "the last JSON object with a \"score\" from 1 to 10",
                       .parse = [](const auto& reply) { return last_object(reply, {"score"}); }});
    made->add("fastchat", {.description = "FastChat: the first [[x]], else the first [x]",
                           .parse = [](const auto& reply) { return fastchat(reply, 1); }});
    made->add("fastchat_choice", {.description = "FastChat: [[A]] anywhere, else [[B]], else [[C]]",
                                  .grades = {"preference"},
                                  .assistants = 2,
                                  .lowest = 0,
                                  .highest = 1,
                                  .parse = fastchat_choice});
    made->add("fastchat_scores",
              {.description = "FastChat: the first [[x,y]], else the first [x,y]",
               .assistants = 2,
               .parse = [](const auto& reply) { return fastchat(reply, 2); }});
    made->add("two_scores", {.description = "two scores are the first line (LLM-KICK)",
                             .assistants = 2,
                             .parse = two_scores});
    made->add(
        "two_scores_recovered",
        {.description = "the same; else \"a/10 for Assistant 1, b/10 for Assistant 2\" at the "
                        "beginning; else the last (a, b)",
         .assistants = 2,
         .parse = two_scores_recovered});
    made->add("four_lines", {.description = "two scores a line: the four axes (LLM-KICK)",
                             .grades = kAxes,
                             .assistants = 2,
                             .parse = four_lines});
    return made;
  }();
  return *registry;
}

}  // namespace cupel
