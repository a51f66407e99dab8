// Instructions that a chat model follows: MT-Bench's conversations of two turns (Zheng et al. 2023) and
// the 80 questions of Vicuna that LLM-KICK's code asks (Jaiswal et al. 2024). Values are what can be told
// without a judge; judging is a second pass over the record.
//
// strict   temperatures by category, as FastChat has them; a conversation that leaves too little room
//          for the answer loses the ends of earlier answers, then of earlier questions
// paper    temperature 0.7; nothing is cut, the answer gets the room that is left
#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "eval/tasks/answer_checks.h"
#include "eval/tasks/answer_values.h"
#include "eval/tasks/chat_writer.h"
#include "eval/tasks/jsonl_items.h"

namespace cupel {

namespace {

double category_temperature(const std::string& category) {
  for (const char* exact : {"extraction", "math", "coding", "reasoning"}) {
    if (category == exact) return 0;
  }
  return category == "stem" || category == "humanities" ? 0.1 : 0.7;
}

class InstructionTask : public Task {
 public:
  TaskInfo info() const override {
    TaskInfo made{.name = "instruction",
                  .description = "instructions of one or several turns, answered freely",
                  .protocols = {"strict", "paper"},
                  .options = ChatWriter::options(),
                  .data = "mt_bench/question.jsonl"};
    made.options.push_back({"turns", "0", "most turns of a conversation; 0 = all"});
    made.options.push_back(
        {"system", "", "system message, where the template's own is not wanted"});
    return made;
  }

  void set_measure(const TextMeasure& measure) override { writer_.set_measure(measure); }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    writer_.configure("instruction", options);
    turns_ = static_cast<std::size_t>(options.whole("turns"));
    system_ = options.text("system");
    return read_jsonl_items(path, [&](const JsonlRecord& record, TaskItem& item) {
      auto& turns = item.fields["turns"];
      if (record.has("turns")) {
        turns = record.texts("turns");
      } else {
        turns = {record.text("text")};
      }
      if (turns.empty()) record.fail("\"turns\" holds at least one.");
      for (const auto& turn : turns) {
        if (strip_white_space(turn).empty()) record.fail("a turn is more than white space.");
      }
      if (turns_ > 0 && turns.size() > turns_) turns.resize(turns_);
      if (record.has("reference")) {
        item.fields["reference"] = record.one_or_more("reference");
      }
      if (record.has("checks")) read_checks(record, item);
    });
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    if (outputs.size() >= item.list("turns").size()) return {};
    const ChatRequest next = ask(item, protocol, outputs, outputs.size());
    if (!next.fits) return {};
    return {TaskRequest::generate(next.generation)};
  }

  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    ItemScore made{item.id, item.category, "", "", {}};
    const std::size_t turns = item.list("turns").size();
    // What could not be asked is an empty answer.
    std::vector<std::string> answers(turns);
    for (std::size_t turn = 0; turn < turns; ++turn) {
      if (turn > outputs.size()) {
        made.flags.push_back("overflow");
        break;
      }
      const ChatRequest asked = ask(item, protocol, outputs, turn);
      const Generation answer =
          turn < outputs.size() ? outputs[turn].generation : Generation{"", 0, "", {}};
      answers[turn] = strip_white_space(answer.text);
      for (const auto& flag : ChatWriter::flags(asked, answer)) made.flags.push_back(flag);
      if (answers[turn].empty()) made.flags.push_back("empty");
      made.prediction += (turn == 0 ? "" : "\n\n") + answers[turn];
    }
    if (item.fields.count("reference")) {
      for (const auto& reference : item.list("reference")) {
        made.gold += (made.gold.empty() ? "" : "\n\n") + reference;
      }
    }
    add_answer_values(answers, outputs, made.values);
    if (item.fields.count("checks")) add_checks(item, answers, made);
    return made;
  }

 private:
  static void read_checks(const JsonlRecord& record, TaskItem& item) {
    const Json& checks = record.json().at("checks");
    if (!checks.is_array() || checks.empty()) record.fail("\"checks\" is a list of at least one.");
    const auto turns = static_cast<int64_t>(item.list("turns").size());
    std::vector<std::string> texts;
    int64_t asked_turns =
        record.has("turns") ? static_cast<int64_t>(record.texts("turns").size()) : 1;
    for (const auto& json : checks) {
      const auto fail = [&](const std::string& rule) { record.fail(rule); };
      const AnswerCheck check = read_check(json, fail);
      if (check.turn > asked_turns) {
        record.fail(
            c10::str("a check names one of the ", asked_turns, " turns. Got ", check.turn, "."));
      }
      // A check of a turn that the option "turns" leaves out is left out with it; one of the last turn
      // is about the last turn of the file.
      const int64_t turn = check.turn == 0 ? asked_turns : check.turn;
      if (turn > turns) continue;
      Json kept = json;
      kept["turn"] = turn;
      texts.push_back(dump_json(kept));
    }
    if (!texts.empty()) item.fields["checks"] = texts;
  }

  static void add_checks(const TaskItem& item, const std::vector<std::string>& answers,
                         ItemScore& made) {
    double met = 0, all = 0;
    for (const auto& text : item.list("checks")) {
      const AnswerCheck check = read_check(parse_json(text, "checks"), [](const std::string& rule) {
        throw FormatError("checks", "", rule);
      });
      ++all;
      try {
        met += follows(check, answers.at(static_cast<std::size_t>(check.turn - 1))) ? 1 : 0;
      } catch (const std::invalid_argument&) {  // an expression that takes too many steps
        made.flags.push_back("check_failed");
      }
    }
    made.values["follows"] = met == all ? 1 : 0;
    made.values["checks_followed"] = met / all;
  }

  ChatRequest ask(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs, std::size_t turn) const {
    const auto& turns = item.list("turns");
    std::vector<ChatMessage> messages;
    std::vector<CutPlace> answers, questions;
    if (!system_.empty()) messages.push_back({"system", system_});
    for (std::size_t i = 0; i <= turn; ++i) {
      questions.push_back({messages.size()});
      messages.push_back({"user", turns[i]});
      if (i == turn) break;
      answers.push_back({messages.size()});
      messages.push_back({"assistant", std::string(strip_white_space(outputs[i].generation.text))});
    }
    if (protocol == "paper") return writer_.as_it_is(messages, writer_.temperature(0.7));
    answers.insert(answers.end(), questions.begin(), questions.end());
    return writer_.cut_to_fit(messages, answers,
                              writer_.temperature(category_temperature(item.category)));
  }

  ChatWriter writer_;
  std::size_t turns_ = 0;
  std::string system_;
};

}  // namespace

std::shared_ptr<Task> instruction() { return std::make_shared<InstructionTask>(); }

}  // namespace cupel
