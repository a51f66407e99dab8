#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/evaluate.h"
#include "cupel/eval/scorer.h"
#include "cupel/text/chat.h"

namespace cupel {

/// One question to a judge. What decides the reply is system, prompt, temperature, seed and
/// max_tokens; the rest says what it is about.
struct JudgeRequest {
  std::string item_id = {}, task = {};
  int64_t turn = 1;  ///< of the dialogue, from 1: the answer that is graded
  std::string category = {};
  std::string question = {};              ///< the user's words of that turn
  std::vector<std::string> answers = {};  ///< as shown: turn by turn; in pairs, assistant A's first
  std::vector<std::string> reference = {};  ///< turn by turn; empty when there is none
  std::map<std::string, std::vector<std::string>> fields = {};  ///< of the item
  std::string system = {}, prompt = {};
  double temperature = 0;
  uint64_t seed = 0;
  int64_t max_tokens = 2048;

  /// SHA-256 of what decides the reply: equal requests are asked once.
  std::string id() const;
};

struct JudgeReply {
  std::string text;
  std::string error = "";   ///< why there is no text
  bool pending = false;     ///< no answer yet, and no failure either
  std::string finish = "";  ///< "stop", "length" (cut), ..., or "" where unknown
  std::string model = "";   ///< as the judge itself says
  int64_t prompt_tokens = 0, tokens = 0;
  double cost = 0;  ///< in the currency of the prices that were given
};

/// What a judge says of itself: a journal of replies is gone on with by the same one alone.
struct JudgeInfo {
  std::string name;                                  ///< "openai", "local", ...
  std::string model = "";                            ///< which model, or which weights
  std::map<std::string, std::string> settings = {};  ///< all else that can change a reply
  bool keeps_replies = false;                        ///< it has a record of its own; no journal
};

/// Takes a request's reply, by its place in the call; each place once, in any order.
using ReplySink = std::function<void(int64_t index, const JudgeReply& reply)>;

/// Whoever reads prompts and writes grades.
class Judge {
 public:
  virtual ~Judge() = default;
  virtual JudgeInfo info() const = 0;
  /// Answers all requests, each as soon as its reply is there: what went through `sink` is on the
  /// disk. Calls `sink` on the calling thread, and still_working() while it waits. A failed request
  /// is a reply with an error; an exception ends the pass.
  virtual void reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) = 0;
};

/// A function as a judge.
class CallableJudge : public Judge {
 public:
  using Function = std::function<JudgeReply(const JudgeRequest&)>;
  explicit CallableJudge(Function function, JudgeInfo info = {.name = "function"})
      : function_(std::move(function)), info_(std::move(info)) {}
  JudgeInfo info() const override { return info_; }
  void reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) override;

 private:
  Function function_;
  JudgeInfo info_;
};

struct LocalJudgeOptions {
  std::string name = "";  ///< of the chat template, for the record
  int64_t batch = 16;     ///< requests that run together
};

/// Any Scorer's generate() as a judge; it must outlive this. A system text that the template leaves out
/// of its prompt stands in front of the question instead.
class LocalJudge : public Judge {
 public:
  LocalJudge(Scorer& scorer, ChatTemplate chat, LocalJudgeOptions options = {});
  JudgeInfo info() const override;
  void reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) override;

 private:
  Scorer& scorer_;
  ChatTemplate chat_;
  LocalJudgeOptions options_;
};

struct JudgeOptions {
  /// "single": each answer gets a grade. "pairwise": against another model's answer. "axes": a
  /// summary's coherence, consistency, fluency and relevance, alone or beside another one.
  std::string mode = "single";
  std::string templates = "";   ///< file or folder, see load_judge_templates(); "" = cupel's own
  std::string parser = "";      ///< of judge_parsers(); "" = the one that the templates go with
  std::string references = "";  ///< FastChat answers; "" = the items' own field "reference"
  std::vector<std::string> reference_categories = {"math", "reasoning", "coding", "arena-hard-200"};
  std::string against = "";  ///< the other model: its records, or a JSONL file of answers
  /// "both": each pair is shown in both orders. "first", "second": this model stands there.
  std::string order = "both";
  std::vector<std::string> tasks = {};  ///< empty: every record whose answers are texts
  std::string protocol = "";            ///< whose answers; "" = the first of each record
  /// Where the tasks' data may be: the folder given to evaluate(), or files. What has the record's
  /// hash is read.
  std::vector<std::string> data = {};
  /// Folder for replies.jsonl (the journal), judge.json (judge, settings, counts) and, once all
  /// replies are there, judgments.jsonl and scores.json; "" = nothing is written.
  std::string out = "";
  /// Another place for the journal; passes that share one ask nothing that another one asked.
  std::string replies = "";
  std::string on_error = "stop";  ///< "stop": no scores without all replies; "count": as unparsed
  int64_t repeats = 1;            ///< times that each question is asked, with seeds that count up
  uint64_t seed = 0;
  double temperature = 0;
  int64_t max_tokens = 2048;  ///< of a reply
  int64_t limit = 0;          ///< the first items of each task; 0 = all
  ProgressFunction progress = {};
};

/// One reply and what was read from it.
struct Judgment {
  std::string task, item, category;
  int64_t turn = 1, repeat = 0;
  bool first = true;  ///< in pairs: this model stood first
  std::string request, text;
  std::vector<double> grades = {};  ///< as JudgeGrades::values; empty when unparsed
  std::string unparsed = "";        ///< why there is no grade
};

struct JudgeResult {
  /// Empty unless complete(). A task has the protocol `mode`; docs/judges.md lists the values.
  EvalResult scores;
  std::vector<Judgment> judgments;
  int64_t requests = 0;  ///< different ones
  int64_t asked = 0;     ///< of this call; the others came from the journal
  int64_t pending = 0;   ///< without a reply yet
  int64_t failed = 0;
  int64_t unparsed = 0;                    ///< judgments without a grade
  int64_t prompt_tokens = 0, tokens = 0;   ///< of all replies
  double cost = 0;                         ///< of all replies
  std::vector<std::string> failures = {};  ///< the first ones, in words
  bool complete() const { return !scores.items.empty(); }
  std::vector<std::string> notes = {};
  /// A line a judgment.
  std::string judgments_jsonl() const;
};

/// A second pass over what evaluate(record=...) wrote: loads the task's data again (their hash must be
/// that of the record), asks the judge about each answer, and scores the replies.
///
/// With `out`, replies are on the disk one by one, by JudgeRequest::id(): a pass that was ended
/// goes on without asking anything twice, and another parser costs nothing. std::invalid_argument
/// for options that do not go together, a record that is not finished or whose data are others, and
/// a journal of another judge; FormatError for bad files.
JudgeResult judge(const std::string& records, Judge& judge, const JudgeOptions& options = {});

}  // namespace cupel
