#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/json.h"

namespace cupel {

/// A rule that an answer either follows or not, told without a judge.
struct AnswerCheck {
  std::string kind;
  std::vector<std::string> texts = {};  ///< of the kinds that compare text: one, or several
  int64_t number = 0;                   ///< of the kinds that count
  int64_t turn = 0;                     ///< of the conversation, from 1; 0 = the last
};

/// Reads {"kind": ..., "value": ..., "turn": ...}; `fail` is called with what is wrong and must throw.
AnswerCheck read_check(const Json& json, const std::function<void(const std::string& rule)>& fail);

/// Whether an answer, without white space at its ends, follows the rule. std::invalid_argument when a
/// regular expression takes too many steps on it.
bool follows(const AnswerCheck& check, const std::string& answer);

}  // namespace cupel
