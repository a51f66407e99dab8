#pragma once

// From answers to questions for a judge, and from its replies to scores.
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/judge.h"
#include "cupel/eval/judge_parser.h"
#include "eval/judge_sources.h"

namespace cupel {

/// One reading of one answer: which request it is, and what it counts for.
struct JudgeCell {
  std::size_t item = 0;  ///< of its task
  int64_t turn = 1, repeat = 0;
  bool first = true;  ///< in pairs: this model stands first
  std::string request;
};

struct JudgeTaskPlan {
  RecordedAnswers source;
  std::vector<JudgeCell> cells;                           ///< item by item, turn by turn
  std::map<std::size_t, std::vector<std::string>> flags;  ///< item -> "no_reference", ...
};

struct JudgePlan {
  std::vector<JudgeTaskPlan> tasks;
  std::vector<JudgeRequest> requests;  ///< different ones, in order
  std::string parser_name;
  JudgeParser parser;
  std::map<std::string, std::string> settings;  ///< for the manifest: what decides the scores
  std::vector<std::string> notes;
};

JudgePlan make_judge_plan(const std::string& records, const JudgeOptions& options);

/// Grades of every cell, and from them items and metrics. `replies` has one for each request.
void score_judgments(const JudgePlan& plan, const JudgeOptions& options, const JudgeInfo& info,
                     const std::map<std::string, JudgeReply>& replies, JudgeResult& result);

}  // namespace cupel
