#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cupel/core/registry.h"

namespace cupel {

/// What a reply says.
struct JudgeGrades {
  /// By grade, then by assistant as shown: [score], [score A, score B], [coherence, ...],
  /// [coherence A, coherence B, ...]. Empty when unparsed.
  std::vector<double> values = {};
  std::string unparsed = "";            ///< why there is no grade; "" = there is
  std::vector<std::string> flags = {};  ///< "recovered", "out_of_range"
};

/// A way to read replies.
struct JudgeParser {
  std::string description;
  std::vector<std::string> grades = {"score"};  ///< {"preference"}: 1, 0.5 or 0 for each of two
  int64_t assistants = 1;                       ///< graded in one reply: 1 or 2
  double lowest = 1, highest = 10;              ///< the scale; bounds of what is unparsed
  std::function<JudgeGrades(const std::string& reply)> parse = {};

  /// parse(), with a check that there are as many grades as promised, and finite ones.
  JudgeGrades read(const std::string& reply) const;
};

/// All parsers by name; add yours here. docs/judges.md lists them.
Registry<JudgeParser>& judge_parsers();

/// What a judge is asked, with places for what it is about.
struct JudgeTemplate {
  std::string name;
  std::string type;      ///< "single", "pairwise", "axes"; "" = any
  std::string category;  ///< of items, in files that have reviewers; else for the reader
  std::string system;    ///< sent as it is
  std::string prompt;    ///< {question}, {answer}, ... are filled in; {{ and }} are braces
  std::string parser;    ///< that reads the replies
  std::map<std::string, std::string> defaults = {};  ///< {prompt} and others of its own

  bool has_reference() const;           ///< shows a reference answer
  bool shows_turn(int64_t turn) const;  ///< shows a dialogue that ends with that turn
};

struct JudgeTemplates {
  std::string source;  ///< path, or "cupel"
  std::string sha256;  ///< of the files, or of cupel's own text
  std::vector<JudgeTemplate> templates;
  /// Category -> template, in files with reviewers; other categories take the first template.
  std::map<std::string, std::size_t> reviewers = {};

  /// The template for an answer. `fallback` becomes true when the wish for a reference, or the
  /// category's reviewer, found none. std::invalid_argument when nothing fits.
  const JudgeTemplate& choose(const std::string& mode, const std::string& category, int64_t turn,
                              bool reference, bool* fallback = nullptr) const;
};

/// Reads FastChat's judge_prompts.jsonl (name, type, system_prompt, prompt_template, output_format),
/// or its older prompt.jsonl with reviewer.jsonl beside it; `path` is the file or its folder.
/// FormatError naming file and line.
JudgeTemplates load_judge_templates(const std::string& path);

/// cupel's own: "single", "pairwise" (each also with a reference answer) and "axes".
JudgeTemplates own_judge_templates();

/// Puts values into a template in one pass: what a value holds is not looked at again.
/// std::invalid_argument for a place that has no value, and for a brace alone.
std::string fill_template(const std::string& text,
                          const std::map<std::string, std::string>& values);

}  // namespace cupel
