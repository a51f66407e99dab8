#include "eval/tasks/trivia_data.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/metrics.h"
#include "cupel/text/records.h"
#include "eval/tasks/json_view.h"
#include "eval/tasks/qa_rules.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

// The texts of a question by source; a source without any is not there.
using Texts = std::map<std::string, std::string>;

std::vector<std::string> normalized(const std::vector<std::string>& answers) {
  std::vector<std::string> gold;
  for (const auto& answer : answers) add_distinct(gold, {normalize_answer(answer)});
  return gold;
}

std::string question_text(const JsonView& view) {
  const std::string text = view.text();
  if (strip_white_space(text).empty()) view.fail("a question is more than white space.");
  return text;
}

// Line ends as Python reads them, whose programs the published numbers come from.
std::string universal_lines(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      plain += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      plain += '\n';
    }
  }
  return plain;
}

class Reader {
 public:
  Reader(std::string path, const EvidenceRules& rules) : path_(std::move(path)), rules_(rules) {}

  std::vector<TriviaQuestion> read() {
    const bool lines = path_.ends_with(".jsonl") || path_.ends_with(".jsonl.gz");
    for (const char* archive : {".tgz", ".tar.gz", ".tar", ".zip"}) {
      if (path_.ends_with(archive)) {
        throw FormatError(path_, "",
                          "this is an archive; unpack it and name a file of its qa folder.");
      }
    }
    if (lines) {
      for_each_record(path_, [&](const JsonView& record) {
        add(record.has("answer") && !record.at("answer").is_text() ? hugging_face(record)
                                                                   : plain(record));
      });
    } else {
      const Json json = parse_json(read_text(path_), path_);
      for (const auto& record : JsonView(json, path_).at("Data").list()) add(official(record));
    }
    if (questions_.empty()) throw FormatError(path_, "", "there is no question in the file.");
    const bool none = std::all_of(questions_.begin(), questions_.end(),
                                  [](const TriviaQuestion& q) { return q.evidence.empty(); });
    if (rules_.wanted && none) {
      throw FormatError(path_, "",
                        "an open book needs evidence, and no question has any; retrieval_qa:book="
                        "closed asks without.");
    }
    return std::move(questions_);
  }

 private:
  void add(TriviaQuestion question) {
    if (question.id.empty()) question.id = std::to_string(questions_.size());
    const std::string id = question.id;
    while (!ids_.insert(question.id).second) {
      question.id = c10::str(id, "#", ++repeats_[id] + 1);
    }
    questions_.push_back(std::move(question));
  }

  TriviaQuestion official(const JsonView& record) {
    TriviaQuestion made;
    made.id = record.at("QuestionId").id();
    made.question = question_text(record.at("Question"));
    const JsonView answer = record.at("Answer");
    made.answer = answer.at("Value").text();
    made.gold = normalized(answer.at("NormalizedAliases").texts());
    if (answer.has("HumanAnswers")) made.human = normalized(answer.at("HumanAnswers").texts());
    if (!rules_.wanted) return made;
    Texts texts;
    for (const auto& source : rules_.order) {
      const char* field = source == "wiki" ? "EntityPages" : "SearchResults";
      if (!record.has(field)) continue;
      const auto pages = record.at(field).list();
      if (pages.empty()) continue;
      const auto text = page(pages.front().at("Filename"), source);
      if (text) {
        texts[source] = *text;
      } else {
        made.flags.emplace_back("evidence_missing");
      }
    }
    join(texts, made);
    return made;
  }

  TriviaQuestion hugging_face(const JsonView& record) {
    TriviaQuestion made;
    if (record.has("question_id")) made.id = record.at("question_id").id();
    made.question = question_text(record.at("question"));
    const JsonView answer = record.at("answer");
    made.gold = normalized(answer.at("normalized_aliases").texts());
    made.answer = answer.at("value").text();
    if (!rules_.wanted) return made;
    Texts texts;
    for (const auto& source : rules_.order) {
      const bool wiki = source == "wiki";
      const char* field = wiki ? "entity_pages" : "search_results";
      const char* column = wiki ? "wiki_context" : "search_context";
      if (!record.has(field)) continue;
      const JsonView pages = record.at(field);
      // A sequence of objects is written by columns, or as it is.
      const auto list = pages.is_list() ? pages.list() : pages.at(column).list();
      if (!list.empty()) {
        texts[source] = (pages.is_list() ? list.front().at(column) : list.front()).text();
      }
    }
    join(texts, made);
    return made;
  }

  TriviaQuestion plain(const JsonView& record) {
    TriviaQuestion made;
    if (record.has("id")) made.id = record.at("id").id();
    if (record.has("category")) made.category = record.at("category").text();
    std::string evidence = record.has("context") ? record.at("context").text() : "";
    if (record.has("question")) {
      made.question = question_text(record.at("question"));
    } else {
      const JsonView context = record.at("context");
      const std::string begin = "Question: ";
      const std::string whole(strip_white_space(evidence));
      const std::size_t line = whole.rfind("\n" + begin), end = whole.rfind("\nAnswer:");
      const std::size_t at = line == std::string::npos ? 0 : line + 1;
      if (!std::string_view(whole).substr(at).starts_with(begin) || end == std::string::npos ||
          at + begin.size() > end || end + 8 != whole.size()) {
        context.fail("without \"question\", a context ends in \"Question: ...\\nAnswer:\".");
      }
      made.question = whole.substr(at + begin.size(), end - at - begin.size());
      evidence = strip_white_space(std::string_view(whole).substr(0, at));
      if (strip_white_space(made.question).empty()) {
        context.fail("a question is more than white space.");
      }
    }
    made.answer = record.at("answer").text();
    std::vector<std::string> answers{made.answer};
    if (record.has("aliases")) add_distinct(answers, record.at("aliases").texts());
    made.gold = normalized(answers);
    if (rules_.wanted) {
      made.evidence = rules_.cut(evidence);
      if (made.evidence.empty()) made.flags.emplace_back("no_evidence");
    }
    return made;
  }

  void join(const Texts& texts, TriviaQuestion& made) const {
    for (const auto& source : rules_.order) {
      const auto text = texts.find(source);
      if (text == texts.end()) continue;
      if (!made.evidence.empty()) made.evidence += rules_.joiner;
      made.evidence += text->second;
    }
    made.evidence = rules_.cut(std::move(made.evidence));
    if (made.evidence.empty()) made.flags.emplace_back("no_evidence");
  }

  // The text of a page; empty where it is missing and that is to be counted.
  std::optional<std::string> page(const JsonView& name, const std::string& source) {
    const fs::path file = name.text();
    const bool leaves =
        std::any_of(file.begin(), file.end(), [](const fs::path& part) { return part == ".."; });
    if (file.empty() || file.is_absolute() || leaves) {
      name.fail("must be a path below the evidence folder. Got \"" + printable(file.string(), 100) +
                "\".");
    }
    const fs::path path = folder() / (source == "wiki" ? "wikipedia" : "web") / file;
    if (!fs::exists(path)) {
      if (rules_.count_missing) return std::nullopt;
      name.fail("the file of this evidence must exist: " + printable(path.string(), 200) +
                " (retrieval_qa:missing=count goes on without and counts).");
    }
    const InputFile opened(path.string());
    const bool whole = rules_.bytes == 0 || opened.size() <= rules_.bytes;
    std::string text(whole ? opened.size() : rules_.bytes, '\0');
    opened.read(0, text.data(), text.size());
    std::size_t bad = first_invalid_utf8(text);
    if (!whole && bad != std::string::npos && text.size() - bad < 4) {
      text.resize(bad);  // a character that spans the end of what was read
      bad = std::string::npos;
    }
    if (bad != std::string::npos) {
      throw FormatError(path.string(), c10::str("byte ", bad), "not valid UTF-8.");
    }
    return universal_lines(text);
  }

  const fs::path& folder() {
    if (!folder_.empty()) return folder_;
    if (!rules_.folder.empty()) {
      folder_ = rules_.folder;
      if (!fs::is_directory(folder_)) {
        throw FormatError(rules_.folder, "", "the folder of evidence must exist.");
      }
      return folder_;
    }
    const fs::path here = fs::absolute(path_).parent_path();
    for (const fs::path& parent : {here, here.parent_path()}) {
      if (fs::is_directory(parent / "evidence")) return folder_ = parent / "evidence";
    }
    throw FormatError(
        path_, "",
        "the texts of this file's pages are files of their own, and there is no folder "
        "\"evidence\" beside it (retrieval_qa:evidence=FOLDER names it, book=closed asks "
        "without).");
  }

  std::string path_;
  const EvidenceRules& rules_;
  fs::path folder_;
  std::vector<TriviaQuestion> questions_;
  std::set<std::string> ids_;
  std::map<std::string, int64_t> repeats_;
};

}  // namespace

std::vector<TriviaQuestion> read_trivia(const std::string& path, const EvidenceRules& rules) {
  return Reader(path, rules).read();
}

std::string find_trivia(const std::string& folder, const std::string& split) {
  std::vector<std::string> found;
  std::set<std::string> there;
  for (const fs::path& place : {fs::path(folder), fs::path(folder) / "qa"}) {
    if (!fs::is_directory(place)) continue;
    for (const auto& entry : fs::directory_iterator(place)) {
      const std::string name = entry.path().filename().string();
      for (const std::string end : {".json", ".jsonl", ".jsonl.gz"}) {
        if (!entry.is_regular_file() || !name.ends_with(end)) continue;
        if (split.empty() || name == split + end) found.push_back(entry.path().string());
        there.insert(name);
      }
    }
  }
  if (found.size() == 1) return found.front();
  std::string names;
  for (const auto& name : there) names += (names.empty() ? "" : ", ") + name;
  if (names.empty()) names = "no .json or .jsonl file";
  const std::string rule = split.empty() ? "there are several data files, or none; "
                                           "retrieval_qa:split=NAME or file=PATH chooses"
                                         : "there is one data file of the split " + split;
  throw FormatError(folder, "", rule + ". Got " + printable(names, 300) + ".");
}

}  // namespace cupel
