#include "eval/tasks/mmlu_questions.h"

#include <algorithm>
#include <filesystem>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/text/records.h"

namespace cupel {

namespace {

// Python's str.strip().
std::string strip(std::string text) {
  text.resize(text.size() - trailing_white_space(text));
  std::size_t begin = 0, length = 0;
  while (begin < text.size() && is_white_space(code_point(text, begin, length))) begin += length;
  return text.substr(begin);
}

}  // namespace

const std::array<std::string, 4>& mmlu_letters() {
  static const std::array<std::string, 4> letters{"A", "B", "C", "D"};
  return letters;
}

std::vector<std::string> mmlu_subjects(const std::string& folder, const std::string& split) {
  const std::filesystem::path below = std::filesystem::path(folder) / split;
  const std::string end = "_" + split + ".csv";
  std::vector<std::string> subjects;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(below, error)) {
    const std::string name = entry.path().filename().string();
    // A name that begins with a dot is a file manager's own.
    if (name.size() <= end.size() || !name.ends_with(end) || name[0] == '.') continue;
    subjects.push_back(name.substr(0, name.size() - end.size()));
    // Such a name could be neither asked for nor told from a group of subjects.
    if (subjects.back().find_first_of(":,+/") != std::string::npos) {
      throw FormatError(entry.path().string(), "",
                        "the name of a subject has no colon, comma or plus.");
    }
  }
  if (subjects.empty()) {
    throw FormatError(below.string(), "",
                      c10::str("there must be a file SUBJECT", end,
                               " in this folder; MMLU's folder holds dev, val and test."));
  }
  std::sort(subjects.begin(), subjects.end());
  return subjects;
}

std::vector<MmluQuestion> read_mmlu(const std::string& folder, const std::string& split,
                                    const std::string& subject) {
  const std::string file =
      (std::filesystem::path(folder) / split / (subject + "_" + split + ".csv")).string();
  std::vector<MmluQuestion> questions;
  for (auto& [line, fields] : read_csv(file, 6)) {
    const auto fail = [&, at = line](const std::string& rule) {
      throw FormatError(file, c10::str("line ", at), rule);
    };
    const auto& letters = mmlu_letters();
    if (std::find(letters.begin(), letters.end(), fields[5]) == letters.end()) {
      fail(c10::str("the answer, in the sixth column, is A, B, C or D. Got '",
                    printable(fields[5], 60), "'."));
    }
    for (std::size_t i = 0; i < 5; ++i) {
      if (trailing_white_space(fields[i]) == fields[i].size()) {
        fail(c10::str(i == 0 ? "the question" : "option " + letters[i - 1],
                      " is more than white space."));
      }
    }
    questions.push_back({fields[0], {fields[1], fields[2], fields[3], fields[4]}, fields[5]});
  }
  return questions;
}

MmluForm mmlu_form(const std::string& name) {
  if (name == "kick" || name == "hendrycks") return MmluForm::kick;
  if (name == "plain") return MmluForm::plain;
  check(name == "harness", "evaluate", "mmlu:form is kick, hendrycks, plain or harness. Got '",
        name, "'.");
  return MmluForm::harness;
}

std::string mmlu_header(MmluForm form, const std::string& subject) {
  std::string words = subject;
  std::replace(words.begin(), words.end(), '_', ' ');
  // The published code writes each word of the subject with a space before it, behind another one.
  return c10::str("The following are multiple choice questions (with answers) about ",
                  form == MmluForm::kick ? " " : "", words, ".\n\n");
}

std::string mmlu_body(MmluForm form, const MmluQuestion& question) {
  std::string text = form == MmluForm::harness ? strip(question.question) : question.question;
  for (std::size_t i = 0; i < 4; ++i) {
    text += "\n" + mmlu_letters()[i] + ". " + question.options[i];
  }
  return text + "\nAnswer:";
}

std::vector<std::string> mmlu_heads(MmluForm form, const std::string& subject,
                                    const std::vector<MmluQuestion>& questions, int64_t shots) {
  std::vector<std::string> heads{mmlu_header(form, subject)};
  for (int64_t i = 0; i < shots; ++i) {
    heads.push_back(heads.back() + mmlu_body(form, questions[i]) + " " + questions[i].letter +
                    "\n\n");
  }
  return heads;
}

}  // namespace cupel
