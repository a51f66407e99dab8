#pragma once

// What a judge's pass reads: records, the items behind them, and answers from files.
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/judge.h"

namespace cupel {

/// Item id -> texts, turn by turn.
using AnswersByItem = std::map<std::string, std::vector<std::string>>;

/// A finished record of a task whose answers are texts.
struct RecordedAnswers {
  std::string key;  ///< the task in results
  std::string path;
  RunManifest manifest;
  std::string protocol;         ///< whose answers
  std::vector<TaskItem> items;  ///< as the task loads them, those that ran
  AnswersByItem answers;
};

/// The records of a folder (itself or its "records"), or one file. Records without texts are left
/// out and named in `notes`, unless they were asked for.
std::vector<RecordedAnswers> read_records(const std::string& path, const JudgeOptions& options,
                                          bool with_items, std::vector<std::string>& notes);

/// FastChat's answers: {"question_id", "choices": [{"turns": [...]}]} or {"question_id", "text"} a
/// line; "id" and "turns" do as well. FormatError naming file and line, also for an id that comes
/// twice.
AnswersByItem read_answers(const std::string& path);

/// Texts of the user, turn by turn: the item's "turns", else its "question" or "prompt".
std::vector<std::string> questions_of(const TaskItem& item);

}  // namespace cupel
