#pragma once

#include <array>
#include <string>
#include <vector>

namespace cupel {

/// A row of MMLU's files.
struct MmluQuestion {
  std::string question;
  std::array<std::string, 4> options;
  std::string letter;  ///< the right one, "A" to "D"
};

/// "A" to "D".
const std::array<std::string, 4>& mmlu_letters();

/// The subjects that have a file FOLDER/SPLIT/SUBJECT_SPLIT.csv, sorted. FormatError when there is
/// none.
std::vector<std::string> mmlu_subjects(const std::string& folder, const std::string& split);

/// The questions of FOLDER/SPLIT/SUBJECT_SPLIT.csv. FormatError naming file and line, as
/// read_csv(), and for an answer that is no letter from A to D, and an empty question or option.
std::vector<MmluQuestion> read_mmlu(const std::string& folder, const std::string& split,
                                    const std::string& subject);

/// How a prompt is written.
enum class MmluForm {
  kick,     ///< two spaces before the subject: the bytes of hendrycks/test and of llm-kick
  plain,    ///< one space
  harness,  ///< one space, and no white space around the question: lm-eval's "mmlu"
};

/// std::invalid_argument for an unknown name; "hendrycks" is "kick".
MmluForm mmlu_form(const std::string& name);

/// The sentence that begins a prompt, and an empty line.
std::string mmlu_header(MmluForm form, const std::string& subject);
/// Question, options, "Answer:".
std::string mmlu_body(MmluForm form, const MmluQuestion& question);
/// The header with the first k questions and their answers, for k from 0 to `shots`.
std::vector<std::string> mmlu_heads(MmluForm form, const std::string& subject,
                                    const std::vector<MmluQuestion>& questions, int64_t shots);

}  // namespace cupel
