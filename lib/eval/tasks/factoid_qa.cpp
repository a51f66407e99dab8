// Factoid questions of FreebaseQA (Jiang, Wu, Jiang, NAACL 2019) without help, as LLM-KICK asks them
// (arXiv 2310.01382, sec. 3.1 and A.2.1).
//
// "paper" is its published code: 2 new tokens for each token of the prompt, right when a gold answer
// is a part of prompt and answer together. Where the prompt alone holds one, the answer does not
// matter: "prompt_leak". "strict" looks at the first line of the answer.
#include <filesystem>
#include <set>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/metrics.h"
#include "cupel/text/records.h"
#include "eval/tasks/json_view.h"
#include "eval/tasks/qa_rules.h"

namespace cupel {

namespace {

TaskItem as_item(const JsonView& question) {
  TaskItem item{question.at("Question-ID").id(), ""};
  const JsonView raw = question.at("RawQuestion");
  item.fields["question"] = {raw.text()};
  if (strip_white_space(item.text("question")).empty())
    raw.fail("a question is more than white space.");
  auto& first = item.fields["first"];
  auto& all = item.fields["union"];
  const auto parses = question.at("Parses").list();
  for (std::size_t p = 0; p < parses.size(); ++p) {
    const auto answers = parses[p].at("Answers").list();
    for (std::size_t a = 0; a < answers.size(); ++a) {
      const auto names = answers[a].at("AnswersName").texts();
      if (p == 0 && a == 0) first = names;
      add_distinct(all, names);
    }
  }
  return item;
}

class FactoidQa : public Task {
 public:
  TaskInfo info() const override {
    return {.name = "factoid_qa",
            .description = "questions of FreebaseQA, closed book, as LLM-KICK asks them",
            .protocols = {"paper", "strict"},
            .options = {{"split", "eval", "of a folder: eval, dev or train"},
                        {"prompt", "newline",
                         "what stands before \"The answer is\": newline, as LLM-KICK asked pruned "
                         "models, or space, as it asked quantized ones"},
                        {"gold", "protocol",
                         "gold answers: first (of the first parse), union (of all), or protocol: "
                         "first in paper, union in strict"},
                        {"max_new_tokens", "32",
                         "most tokens of an answer in strict, and in paper where the scorer cannot "
                         "count tokens"}},
            .data = "freebaseqa"};
  }

  void set_measure(const TextMeasure& measure) override { measure_ = measure; }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    joint_ = choose(options, "factoid_qa", "prompt", {"newline", "space"}) == "space" ? " " : "\n";
    gold_ = choose(options, "factoid_qa", "gold", {"protocol", "first", "union"});
    max_new_tokens_ = options.whole("max_new_tokens", 1);
    const std::string split = choose(options, "factoid_qa", "split", {"eval", "dev", "train"});
    const bool folder = std::filesystem::is_directory(path);
    check(folder || split == "eval", "evaluate",
          "factoid_qa:split is for a folder of FreebaseQA-SPLIT.json. Got the file '",
          printable(path), "'.");
    const std::string file = folder ? path + "/FreebaseQA-" + split + ".json" : path;
    const Json json = parse_json(read_text(file), file);
    std::vector<TaskItem> items;
    std::set<std::string> ids;
    for (const auto& question : JsonView(json, file).at("Questions").list()) {
      items.push_back(as_item(question));
      if (!ids.insert(items.back().id).second) {
        question.fail("the Question-ID \"" + printable(items.back().id, 60) + "\" stands before.");
      }
    }
    if (items.empty()) throw FormatError(file, "Questions", "there is no question in the file.");
    return items;
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    const AnswerRoom room = room_of(item, protocol);
    if (!outputs.empty() || !room.fits) return {};
    GenerationRequest request{.prompt = prompt(item), .max_new_tokens = room.tokens};
    if (protocol == "strict") request.stop = {"\n"};
    return {TaskRequest::generate(request)};
  }

  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    const bool paper = protocol == "paper";
    const auto& gold = gold_of(item, protocol);
    const AnswerRoom room = room_of(item, protocol);
    const std::string written = room.fits ? outputs.at(0).generation.text : "";
    const std::string answer =
        paper ? std::string(strip_white_space(written)) : first_line(written);
    ItemScore score{item.id, "", answer, gold.empty() ? "" : gold.front(), {}};
    score.flags = gold_flags(gold, paper ? kick_normalize : normalize_answer);
    if (!room.fits) score.flags.emplace_back("question_too_long");
    if (room.fits && room.cut) score.flags.emplace_back("budget_cut");
    std::vector<std::string> real;  // an empty gold answer is a part of everything
    for (const auto& one : gold) {
      if (!kick_normalize(one).empty()) real.push_back(one);
    }
    const auto add = [&](const char* name, bool right) {
      score.values[name] = room.fits && right ? 1.0 : 0.0;
    };
    add("substring", kick_substring(answer, real));
    if (!paper) {
      add("accuracy", normalized_equal(answer, gold));
      add("contains", contains_answer(answer, gold));
      return score;
    }
    add("kick_substring", kick_substring(prompt(item) + written, gold));
    if (!measure_.count) score.flags.emplace_back("budget_unknown");
    if (kick_substring(prompt(item), real)) score.flags.emplace_back("prompt_leak");
    return score;
  }

 private:
  std::string prompt(const TaskItem& item) const {
    return "Please give answer to this question: " + item.text("question") + joint_ +
           "The answer is ";
  }

  const std::vector<std::string>& gold_of(const TaskItem& item, const std::string& protocol) const {
    if (gold_ != "protocol") return item.list(gold_);
    return item.list(protocol == "paper" ? "first" : "union");
  }

  AnswerRoom room_of(const TaskItem& item, const std::string& protocol) const {
    const std::string text = prompt(item);
    const bool published = protocol == "paper" && measure_.count;
    return answer_room(measure_, text, published ? 2 * measure_.count(text) : max_new_tokens_);
  }

  TextMeasure measure_;
  std::string joint_, gold_;
  int64_t max_new_tokens_ = 0;
};

}  // namespace

std::shared_ptr<Task> factoid_qa() { return std::make_shared<FactoidQa>(); }

}  // namespace cupel
