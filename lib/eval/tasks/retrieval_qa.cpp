// Questions of TriviaQA (Joshi et al., ACL 2017), closed book or with evidence in the prompt, as
// LLM-KICK asks them (arXiv 2310.01382, sec. 3.3 and A.2.3).
//
// "paper" scores by its published code: right when answer and gold answer, normalised, hold one
// another either way, which an empty answer always does. "strict" is TriviaQA's own evaluation of
// the first line. A prompt that does not fit loses the end of its evidence first, then shots, then
// room for the answer; a question is never cut, but counted as wrong where it cannot be asked.
#include <algorithm>
#include <filesystem>
#include <map>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/metrics.h"
#include "eval/tasks/qa_rules.h"
#include "eval/tasks/trivia_data.h"

namespace cupel {

namespace {

constexpr const char* kName = "retrieval_qa";

// A prompt as it is asked, and what was given up for it.
struct Asked {
  std::string prompt, evidence;
  AnswerRoom room;
  std::vector<std::string> flags;
};

std::vector<std::string> parts_of(const std::string& order) {
  const std::size_t plus = order.find('+');
  if (plus == std::string::npos) return {order};
  return {order.substr(0, plus), order.substr(plus + 1)};
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) >> 6) != 2 ? 1 : 0;
  return count;
}

class RetrievalQa : public Task {
 public:
  TaskInfo info() const override {
    return {.name = kName,
            .description =
                "questions of TriviaQA, closed book or with evidence, as LLM-KICK asks "
                "them",
            .protocols = {"paper", "strict"},
            .options =
                {{"split", "", "of a folder: the name of a data file, e.g. wikipedia-dev"},
                 {"book", "open", "open: evidence stands in the prompt; closed: it does not"},
                 {"evidence", "", "folder with wikipedia/ and web/; by default beside the data"},
                 {"missing", "error", "files of evidence that are missing: error, or count"},
                 {"order", "wiki+web", "wiki+web, web+wiki, wiki or web; the first text of each"},
                 {"joiner", "none", "between the two: none, space, newline or blank_line"},
                 {"cut", "chars:3072", "how much of the joined evidence: chars:N, tokens:N or all"},
                 {"wording", "code", "of the open book: as LLM-KICK's code has it, or its paper"},
                 {"shots", "0", "answered questions in front, the first others of the data"},
                 {"shots_file", "", "data to take them from"},
                 {"max_new_tokens", "32", "most tokens of an answer"}},
            .data = "triviaqa"};
  }

  void set_measure(const TextMeasure& measure) override { measure_ = measure; }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    asked_.clear();
    open_ = choose(options, kName, "book", {"open", "closed"}) == "open";
    paper_wording_ = choose(options, kName, "wording", {"code", "paper"}) == "paper";
    shots_ = options.whole("shots");
    max_new_tokens_ = options.whole("max_new_tokens", 1);
    const std::string& split = options.text("split");
    const bool folder = std::filesystem::is_directory(path);
    check(folder || split.empty(), "evaluate", kName, ":split is for a folder. Got the file '",
          printable(path), "'.");
    auto questions = read_trivia(folder ? find_trivia(path, split) : path, evidence_rules(options));
    const std::string& shots_file = options.text("shots_file");
    if (shots_file.empty()) {
      keep_shots(questions, false);
    } else {
      keep_shots(read_trivia(shots_file, {}), true);
    }
    std::vector<TaskItem> items;
    for (auto& question : questions) {
      TaskItem item{std::move(question.id), std::move(question.category)};
      item.fields = {{"question", {std::move(question.question)}},
                     {"gold", std::move(question.gold)},
                     {"human", std::move(question.human)},
                     {"evidence", {std::move(question.evidence)}},
                     {"flags", std::move(question.flags)}};
      items.push_back(std::move(item));
    }
    return items;
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    const Asked& asked = ask(item);
    if (!outputs.empty() || !asked.room.fits) return {};
    GenerationRequest request{.prompt = asked.prompt, .max_new_tokens = asked.room.tokens};
    if (protocol == "strict") request.stop = {"\n"};
    return {TaskRequest::generate(request)};
  }

  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    const bool paper = protocol == "paper";
    const Asked& asked = ask(item);
    const std::string written = asked.room.fits ? outputs.at(0).generation.text : "";
    // The published code strips first, so its line is the first one that is not blank.
    const std::string answer = first_line(paper ? strip_white_space(written) : written);
    auto gold = item.list("gold");
    if (!paper) add_distinct(gold, item.list("human"));
    ItemScore score{item.id, item.category, answer, gold.empty() ? "" : gold.front(), {}};
    score.flags = asked.flags;
    add_distinct(score.flags, gold_flags(gold, normalize_answer));
    if (asked.room.fits && normalize_answer(answer).empty()) {
      score.flags.emplace_back("empty_answer");
    }
    if (open_ && !contains_answer(asked.evidence, gold)) {
      score.flags.emplace_back("answer_not_in_evidence");
    }
    const double right = paper ? two_way_substring(answer, gold) : exact_match(answer, gold);
    score.values[paper ? "em_kick" : "em"] = asked.room.fits ? right : 0;
    score.values["f1"] = token_f1(answer, gold);
    return score;
  }

  std::map<std::string, double> aggregate(const std::vector<ItemScore>& scores,
                                          const std::string& protocol) const override {
    auto metrics = Task::aggregate(scores, protocol);
    const auto share = [&](const std::string& flag) {
      const auto found = metrics.find("flag_" + flag);
      return found == metrics.end() ? 0 : found->second / static_cast<double>(scores.size());
    };
    metrics["empty"] = share("empty_answer");
    if (open_) metrics["answer_in_evidence"] = 1 - share("answer_not_in_evidence");
    return metrics;
  }

 private:
  EvidenceRules evidence_rules(const TaskOptions& options) const {
    const std::map<std::string, std::string> joiners{
        {"none", ""}, {"space", " "}, {"newline", "\n"}, {"blank_line", "\n\n"}};
    EvidenceRules rules{.wanted = open_, .folder = options.text("evidence")};
    rules.count_missing = choose(options, kName, "missing", {"error", "count"}) == "count";
    rules.order =
        parts_of(choose(options, kName, "order", {"wiki+web", "web+wiki", "wiki", "web"}));
    rules.joiner =
        joiners.at(choose(options, kName, "joiner", {"none", "space", "newline", "blank_line"}));
    const std::string& cut = options.text("cut");
    const std::size_t colon = cut.find(':');
    const std::string unit = cut.substr(0, colon);
    check(cut == "all" || (colon != std::string::npos && (unit == "chars" || unit == "tokens")),
          "evaluate", kName, ":cut is chars:N, tokens:N or all. Got '", cut, "'.");
    if (cut == "all") {
      rules.cut = [](std::string text) { return text; };
      return rules;
    }
    const int64_t size = TaskOptions(kName, {{"cut", cut.substr(colon + 1)}}).whole("cut", 1);
    if (unit == "chars") {
      rules.bytes = 4 * static_cast<uint64_t>(size);
      rules.cut = [size](std::string text) {
        text.resize(first_characters(text, static_cast<std::size_t>(size)).size());
        return text;
      };
      return rules;
    }
    check(static_cast<bool>(measure_.count), "evaluate", kName,
          ":cut=tokens:N needs a scorer that counts tokens; chars:N does not.");
    rules.cut = [this, size](std::string text) { return measure_.head(text, size); };
    return rules;
  }

  // Different questions, and one more than is needed, as an item is never its own shot. Those of a
  // file of their own need not hold one more.
  void keep_shots(const std::vector<TriviaQuestion>& questions, bool own_file) {
    pool_.clear();
    for (const auto& other : questions) {
      if (static_cast<int64_t>(pool_.size()) > shots_) break;
      if (!is_shot(other.question)) pool_.emplace_back(other.question, other.answer);
    }
    const auto found = static_cast<int64_t>(pool_.size());
    const int64_t needed = shots_ + (own_file ? 0 : 1);
    check(shots_ == 0 || found >= needed, "evaluate", kName, ":shots=", shots_, " needs ", needed,
          " different questions. Got ", found, ".");
  }

  bool is_shot(const std::string& question) const {
    return std::any_of(pool_.begin(), pool_.end(),
                       [&](const auto& shot) { return shot.first == question; });
  }

  std::string build(const TaskItem& item, std::string_view evidence, int64_t shots) const {
    std::string text;
    if (open_) {
      text = std::string(evidence) + (paper_wording_ ? "\n\nAnswer these questions:\n\n"
                                                     : "\n\nBased on these texts, answer these "
                                                       "questions:\n\n");
    } else {
      text = "Answer these questions:\n\n";
    }
    for (const auto& [question, answer] : pool_) {
      if (question == item.text("question")) continue;
      if (shots-- <= 0) break;
      text += "Q: " + question + "\nA: " + answer + "\n\n";
    }
    return std::string(strip_white_space(text + "Q: " + item.text("question") + "\nA:"));
  }

  const Asked& ask(const TaskItem& item) const {
    const auto [at, fresh] = asked_.try_emplace(item.id);
    Asked& asked = at->second;
    if (!fresh) return asked;
    asked.flags = item.list("flags");
    std::string_view evidence = item.text("evidence");
    const int64_t others = static_cast<int64_t>(pool_.size()) - is_shot(item.text("question"));
    int64_t shots = std::min(shots_, others);
    bool dropped = shots < shots_;
    const auto fits = [&](std::string_view some) {
      return measure_.count(build(item, some, shots)) + max_new_tokens_ <= measure_.limit;
    };
    if (measure_.known() && !evidence.empty() && !fits(evidence)) {
      asked.flags.emplace_back("evidence_cut");
      std::size_t low = 0, high = characters(evidence);
      while (low + 1 < high) {
        const std::size_t middle = low + (high - low) / 2;
        (fits(first_characters(evidence, middle)) ? low : high) = middle;
      }
      evidence = first_characters(evidence, low);
    }
    for (; measure_.known() && shots > 0 && !fits(evidence); --shots) dropped = true;
    if (dropped) asked.flags.emplace_back("shots_dropped");
    asked.evidence = evidence;
    asked.prompt = build(item, evidence, shots);
    asked.room = answer_room(measure_, asked.prompt, max_new_tokens_);
    if (!asked.room.fits) asked.flags.emplace_back("question_too_long");
    if (asked.room.fits && asked.room.cut) asked.flags.emplace_back("budget_cut");
    return asked;
  }

  TextMeasure measure_;
  bool open_ = true, paper_wording_ = false;
  int64_t shots_ = 0, max_new_tokens_ = 0;
  std::vector<std::pair<std::string, std::string>> pool_;
  // Prompts are asked for several times and take many counts of tokens.
  mutable std::map<std::string, Asked> asked_;
};

}  // namespace

std::shared_ptr<Task> retrieval_qa() { return std::make_shared<RetrievalQa>(); }

}  // namespace cupel
