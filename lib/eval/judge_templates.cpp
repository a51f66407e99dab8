// Templates of judges: files, the choice among them, and putting text into them.
#include <algorithm>
#include <filesystem>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/judge_parser.h"
#include "text/json_lines.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

std::string text_of(const Json& json, const char* name, const std::string& otherwise = "") {
  return json.contains(name) ? json.at(name).get<std::string>() : otherwise;
}

void for_each_object(const std::string& path,
                     const std::function<void(int64_t, const Json&)>& line) {
  for_each_json_line(path, [&](int64_t number, const Json& json) {
    try {
      line(number, json);
    } catch (const Json::exception&) {
      throw FormatError(path, c10::str("line ", number),
                        "lacks a text field of a judge's template, or it is no text.");
    }
  });
}

// The parser for FastChat's output_format.
std::string parser_of(const std::string& format) {
  if (format == "[[rating]]") return "fastchat";
  if (format == "[[A]]") return "fastchat_choice";
  if (format == "[[rating_a,rating_b]]") return "fastchat_scores";
  return "";
}

// Calls text(piece) and place(name) in order; rule(text) for what is neither.
template <typename OnText, typename OnPlace, typename OnError>
void scan(const std::string& text, const OnText& on_text, const OnPlace& on_place,
          const OnError& on_error) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t next = std::min(text.find_first_of("{}", at), text.size());
    if (next > at) on_text(std::string_view(text).substr(at, next - at));
    if (next == text.size()) return;
    if (next + 1 < text.size() && text[next + 1] == text[next]) {
      on_text(std::string_view(text).substr(next, 1));
      at = next + 2;
      continue;
    }
    const std::size_t end = text[next] == '{' ? text.find('}', next) : std::string::npos;
    const std::string name = end == std::string::npos ? "" : text.substr(next + 1, end - next - 1);
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
    if (!plain) {
      on_error(c10::str("a brace is part of a {place} or doubled. Got '",
                        printable(text.substr(next, 24), 40), "'."));
      return;
    }
    on_place(name);
    at = end + 1;
  }
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

JudgeTemplate from_fastchat(const Json& json) {
  JudgeTemplate made{.name = json.at("name").get<std::string>(),
                     .type = json.at("type").get<std::string>(),
                     .category = text_of(json, "category"),
                     .system = text_of(json, "system_prompt"),
                     .prompt = json.at("prompt_template").get<std::string>(),
                     .parser = parser_of(text_of(json, "output_format"))};
  return made;
}

JudgeTemplate from_older(const Json& json) {
  JudgeTemplate made{.name = dump_json(json.at("prompt_id")),
                     .type = "",
                     .category = text_of(json, "category"),
                     .system = text_of(json, "system_prompt"),
                     .prompt = json.at("prompt_template").get<std::string>(),
                     .parser = ""};
  if (json.contains("defaults")) {
    for (const auto& [name, value] : json.at("defaults").items()) {
      made.defaults[name] = value.get<std::string>();
    }
  }
  return made;
}

void read_reviewers(const std::string& path, JudgeTemplates& made) {
  for_each_object(path, [&](int64_t number, const Json& json) {
    const std::string prompt = dump_json(json.at("prompt_id"));
    const auto found = std::find_if(made.templates.begin(), made.templates.end(),
                                    [&](const auto& entry) { return entry.name == prompt; });
    if (found == made.templates.end()) {
      throw FormatError(path, c10::str("line ", number), "names a prompt_id that no prompt has.");
    }
    const auto index = static_cast<std::size_t>(found - made.templates.begin());
    if (!made.reviewers.emplace(json.at("category").get<std::string>(), index).second) {
      throw FormatError(path, c10::str("line ", number), "is a second reviewer of its category.");
    }
  });
}

}  // namespace

bool JudgeTemplate::has_reference() const {
  return holds(prompt, "{ref_answer_") || holds(prompt, "{reference}");
}

bool JudgeTemplate::shows_turn(int64_t turn) const {
  const bool dialogue = holds(prompt, "{question_") || holds(prompt, "{conversation");
  if (turn == 1) return !holds(prompt, "{question_2}");
  return dialogue &&
         (holds(prompt, c10::str("{question_", turn, "}")) || holds(prompt, "{conversation"));
}

const JudgeTemplate& JudgeTemplates::choose(const std::string& mode, const std::string& category,
                                            int64_t turn, bool reference, bool* fallback) const {
  bool otherwise = false;
  const JudgeTemplate* chosen = nullptr;
  if (!reviewers.empty()) {
    const auto found = reviewers.find(category);
    otherwise = found == reviewers.end();
    chosen = &templates[otherwise ? 0 : found->second];
    check(turn == 1 || chosen->shows_turn(turn), "judge", "the templates of ", printable(source),
          " show one turn. Got an answer of turn ", turn, ".");
  } else {
    const auto best = [&](bool with) {
      for (const auto& entry : templates) {
        if ((entry.type.empty() || entry.type == mode) && entry.shows_turn(turn) &&
            entry.has_reference() == with) {
          return &entry;
        }
      }
      return static_cast<const JudgeTemplate*>(nullptr);
    };
    chosen = best(reference);
    if (!chosen && reference) {
      otherwise = true;
      chosen = best(false);
    }
  }
  check(chosen != nullptr, "judge", "the templates of ", printable(source), " have none of type '",
        mode, "' for an answer of turn ", turn, ".");
  if (fallback) *fallback = otherwise;
  return *chosen;
}

JudgeTemplates load_judge_templates(const std::string& path) {
  std::string file = path;
  if (fs::is_directory(path)) {
    for (const char* name : {"judge_prompts.jsonl", "prompt.jsonl"}) {
      if (fs::is_regular_file(path + "/" + name)) {
        file = path + "/" + name;
        break;
      }
    }
    if (file == path) {
      throw FormatError(path, "", "holds neither judge_prompts.jsonl nor prompt.jsonl.");
    }
  }
  JudgeTemplates made{.source = file, .sha256 = "", .templates = {}};
  bool older = false;
  for_each_object(file, [&](int64_t number, const Json& json) {
    older = older || json.contains("prompt_id");
    made.templates.push_back(json.contains("prompt_id") ? from_older(json) : from_fastchat(json));
    scan(
        made.templates.back().prompt, [](std::string_view) {}, [](const std::string&) {},
        [&](const std::string& rule) { throw FormatError(file, c10::str("line ", number), rule); });
    for (std::size_t i = 0; i + 1 < made.templates.size(); ++i) {
      if (made.templates[i].name == made.templates.back().name) {
        throw FormatError(file, c10::str("line ", number), "has the name of another template.");
      }
    }
  });
  if (made.templates.empty()) throw FormatError(file, "", "holds no template.");
  Sha256 sum;
  sum.update(read_file(file));
  const std::string reviewers = (fs::path(file).parent_path() / "reviewer.jsonl").string();
  if (older && fs::is_regular_file(reviewers)) {
    read_reviewers(reviewers, made);
    sum.update(read_file(reviewers));
  }
  made.sha256 = sum.hex();
  return made;
}

std::string fill_template(const std::string& text,
                          const std::map<std::string, std::string>& values) {
  std::string filled;
  scan(
      text, [&](std::string_view piece) { filled += piece; },
      [&](const std::string& name) {
        const auto found = values.find(name);
        check(found != values.end(), "judge", "a template's places are known ones. Got {", name,
              "}, which has no value here.");
        filled += found->second;
      },
      [](const std::string& rule) { throw std::invalid_argument("[judge] " + rule); });
  return filled;
}

}  // namespace cupel
