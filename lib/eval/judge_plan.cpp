#include "eval/judge_plan.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

using Values = std::map<std::string, std::string>;
using Texts = std::vector<std::string>;

std::string conversation(const Texts& questions, const Texts& answers, int64_t turns) {
  std::string text;
  for (int64_t i = 0; i < turns; ++i) {
    text += c10::str(i ? "\n\n" : "", "USER:\n", questions[i], "\n\nASSISTANT:\n", answers[i]);
  }
  return text;
}

// Everything that a template may show of one answer, or of a pair with `other` second.
Values places_of(const TaskItem& item, const Texts& questions, const Texts& mine,
                 const Texts& other, const Texts& reference, int64_t turn) {
  Values values;
  for (const auto& [name, texts] : item.fields) {
    if (texts.size() == 1) values[name] = texts.front();
  }
  const auto at = [&](const Texts& texts, int64_t i) { return texts[static_cast<std::size_t>(i)]; };
  for (int64_t i = 0; i < turn; ++i) {
    const std::string number = c10::str("_", i + 1);
    values["question" + number] = at(questions, i);
    values["answer" + number] = at(mine, i);
    if (!other.empty()) {
      values["answer_a" + number] = at(mine, i);
      values["answer_b" + number] = at(other, i);
    }
    if (i < static_cast<int64_t>(reference.size())) {
      values["ref_answer" + number] = at(reference, i);
    }
  }
  values["question"] = at(questions, turn - 1);
  values["answer"] = at(mine, turn - 1);
  values["conversation"] = conversation(questions, mine, turn);
  if (static_cast<int64_t>(reference.size()) >= turn) {
    values["reference"] = at(reference, turn - 1);
  }
  if (!other.empty()) {
    values["answer_a"] = values["answer_1"] = at(mine, turn - 1);
    values["answer_b"] = values["answer_2"] = at(other, turn - 1);
    values["conversation_a"] = values["conversation"];
    values["conversation_b"] = conversation(questions, other, turn);
  }
  Sha256 mark;
  for (const auto& [name, text] : values) mark.update(text + "\n");
  values["mark"] = mark.hex().substr(0, 8);
  return values;
}

class Planner {
 public:
  Planner(const JudgeOptions& options, JudgePlan& plan) : options_(options), plan_(plan) {
    templates_ =
        options.templates.empty() ? own_judge_templates() : load_judge_templates(options.templates);
    if (!options.references.empty()) references_ = read_answers(options.references);
  }

  const JudgeTemplates& templates() const { return templates_; }
  void add(RecordedAnswers source, const AnswersByItem& others);
  void finish();

 private:
  void add_turn(JudgeTaskPlan& task, std::size_t item, int64_t turn, const Texts& questions,
                const Texts& mine, const Texts& other);
  bool wants_reference(const TaskItem& item) const;
  Texts reference_of(const TaskItem& item) const;
  void use_parser(const JudgeTemplate& chosen);

  const JudgeOptions& options_;
  JudgePlan& plan_;
  JudgeTemplates templates_;
  AnswersByItem references_;
  std::set<std::string> ids_;
  std::set<std::string> categories_without_reviewer_;
  int64_t without_reference_ = 0;
};

bool Planner::wants_reference(const TaskItem& item) const {
  const auto& categories = options_.reference_categories;
  return std::find(categories.begin(), categories.end(), item.category) != categories.end();
}

Texts Planner::reference_of(const TaskItem& item) const {
  const auto found = references_.find(item.id);
  if (found != references_.end()) return found->second;
  return item.fields.count("reference") ? item.list("reference") : Texts();
}

// All templates of a pass are read by one parser.
void Planner::use_parser(const JudgeTemplate& chosen) {
  std::string name = options_.parser.empty() ? chosen.parser : options_.parser;
  if (name.empty()) name = options_.mode == "axes" ? "four_lines" : "two_scores";
  check(plan_.parser_name.empty() || plan_.parser_name == name, "judge",
        "one parser reads all replies of a pass: name it (parser, --parser). Got templates for ",
        plan_.parser_name, " and ", name, ".");
  if (!plan_.parser_name.empty()) return;
  plan_.parser_name = name;
  plan_.parser = judge_parsers().get(name);
  const int64_t shown = options_.against.empty() ? 1 : 2;
  check(plan_.parser.assistants == shown, "judge", "the parser '", name, "' reads grades of ",
        plan_.parser.assistants, " answers. Got a pass that shows ", shown,
        shown == 1 ? "; another model's come with against, --against." : ".");
}

void Planner::add_turn(JudgeTaskPlan& task, std::size_t index, int64_t turn, const Texts& questions,
                       const Texts& mine, const Texts& other) {
  const TaskItem& item = task.source.items[index];
  const bool wish = wants_reference(item);
  const Texts reference = wish ? reference_of(item) : Texts();
  const bool has = static_cast<int64_t>(reference.size()) >= turn;
  bool fallback = false;
  const JudgeTemplate& chosen =
      templates_.choose(options_.mode, item.category, turn, wish && has, &fallback);
  use_parser(chosen);
  if (!templates_.reviewers.empty()) {
    if (fallback) categories_without_reviewer_.insert(item.category);
  } else if (wish && !chosen.has_reference() && options_.mode != "axes") {
    ++without_reference_;
    auto& flags = task.flags[index];
    if (flags.empty()) flags.emplace_back("no_reference");
  }
  std::vector<bool> orders{true};
  if (!other.empty() && options_.order != "first") {
    orders = options_.order == "both" ? std::vector<bool>{true, false} : std::vector<bool>{false};
  }
  for (const bool first : orders) {
    const Texts& shown = first ? mine : other;
    const Texts& second = first ? other : mine;
    Values values = chosen.defaults;
    values.merge(
        places_of(item, questions, shown, other.empty() ? other : second, reference, turn));
    JudgeRequest request{.item_id = item.id,
                         .task = task.source.key,
                         .turn = turn,
                         .category = item.category,
                         .question = questions[static_cast<std::size_t>(turn - 1)],
                         .answers = Texts(shown.begin(), shown.begin() + turn),
                         .reference = reference,
                         .fields = item.fields,
                         .system = chosen.system,
                         .prompt = "",
                         .temperature = options_.temperature,
                         .seed = options_.seed,
                         .max_tokens = options_.max_tokens};
    if (!other.empty()) {
      request.answers.insert(request.answers.end(), second.begin(), second.begin() + turn);
    }
    try {
      request.prompt = fill_template(chosen.prompt, values);
    } catch (const std::invalid_argument& error) {
      check(false, "judge", "template '", printable(chosen.name, 60), "' for item '",
            printable(item.id, 60), "': ", error.what());
    }
    for (int64_t repeat = 0; repeat < options_.repeats; ++repeat) {
      request.seed = options_.seed + static_cast<uint64_t>(repeat);
      task.cells.push_back({index, turn, repeat, first, request.id()});
      if (ids_.insert(task.cells.back().request).second) plan_.requests.push_back(request);
    }
  }
}

void Planner::add(RecordedAnswers source, const AnswersByItem& others) {
  JudgeTaskPlan task{.source = std::move(source), .cells = {}, .flags = {}};
  auto& items = task.source.items;
  if (options_.limit > 0 && static_cast<int64_t>(items.size()) > options_.limit) {
    items.resize(static_cast<std::size_t>(options_.limit));
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Texts questions = questions_of(items[i]);
    const Texts& mine = task.source.answers.at(items[i].id);
    check(mine.size() <= questions.size(), "judge", "each answer has its question. Got ",
          mine.size(), " answers to ", questions.size(), " questions in ", task.source.key,
          ", item '", printable(items[i].id, 60), "'.");
    Texts other;
    if (!options_.against.empty()) {
      const auto found = others.find(items[i].id);
      check(found != others.end() && found->second.size() >= mine.size(), "judge",
            "the other model answers each turn as well. Got no such answer in ",
            printable(options_.against), " for ", task.source.key, ", item '",
            printable(items[i].id, 60), "'.");
      other = found->second;
    }
    for (int64_t turn = 1; turn <= static_cast<int64_t>(mine.size()); ++turn) {
      add_turn(task, i, turn, questions, mine, other);
    }
  }
  plan_.tasks.push_back(std::move(task));
}

void Planner::finish() {
  for (const auto& category : categories_without_reviewer_) {
    plan_.notes.push_back(c10::str("Category '", printable(category, 60),
                                   "' has no reviewer in the templates; it took the first one."));
  }
  if (without_reference_ > 0) {
    plan_.notes.push_back(c10::str(without_reference_,
                                   " answers of categories that go with a reference answer were "
                                   "judged without one."));
  }
}

// Answers of the other model for each task: from its records, or one file for all.
std::map<std::string, AnswersByItem> other_answers(const JudgeOptions& options,
                                                   const std::vector<RecordedAnswers>& mine,
                                                   JudgePlan& plan) {
  std::map<std::string, AnswersByItem> found;
  if (options.against.empty()) return found;
  bool answers_file = false;
  if (!std::filesystem::is_directory(options.against)) {
    std::string beginning = read_file(options.against);
    answers_file = !beginning.starts_with("{\"cupel_record\"");
  }
  if (answers_file) {
    const AnswersByItem answers = read_answers(options.against);
    for (const auto& source : mine) found[source.key] = answers;
    return found;
  }
  std::vector<std::string> notes;
  const auto theirs = read_records(options.against, options, false, notes);
  for (const auto& source : mine) {
    const auto match = std::find_if(theirs.begin(), theirs.end(),
                                    [&](const auto& other) { return other.key == source.key; });
    check(match != theirs.end(), "judge", "the other model has the same tasks. Got no ", source.key,
          " in ", printable(options.against), ".");
    check(match->manifest.items_sha256 == source.manifest.items_sha256 &&
              match->manifest.data_sha256 == source.manifest.data_sha256,
          "judge", "both models answer the same questions. Got other ones of ", source.key, " in ",
          printable(options.against), ".");
    found[source.key] = match->answers;
    plan.settings["judge.against_model"] = match->manifest.model;
  }
  return found;
}

}  // namespace

JudgePlan make_judge_plan(const std::string& records, const JudgeOptions& options) {
  const std::set<std::string> modes{"single", "pairwise", "axes"},
      orders{"both", "first", "second"};
  check(modes.count(options.mode), "judge", "mode is single, pairwise or axes. Got '", options.mode,
        "'.");
  check(orders.count(options.order), "judge", "order is both, first or second. Got '",
        options.order, "'.");
  check(options.on_error == "stop" || options.on_error == "count", "judge",
        "on_error is stop or count. Got '", options.on_error, "'.");
  check(options.repeats >= 1, "judge", "repeats is at least 1. Got ", options.repeats, ".");
  check(options.max_tokens >= 1, "judge", "max_tokens is at least 1. Got ", options.max_tokens,
        ".");
  check(options.temperature >= 0, "judge", "temperature is at least 0. Got ", options.temperature,
        ".");
  check(options.limit >= 0, "judge", "limit is at least 0. Got ", options.limit, ".");
  check(options.mode != "pairwise" || !options.against.empty(), "judge",
        "pairwise needs the other model's answers (against, --against).");
  check(options.mode != "single" || options.against.empty(), "judge",
        "against is for pairwise and axes; single grades each answer alone.");
  JudgePlan plan;
  Planner planner(options, plan);
  std::vector<RecordedAnswers> mine = read_records(records, options, true, plan.notes);
  const auto others = other_answers(options, mine, plan);
  for (auto& source : mine) {
    const auto found = others.find(source.key);
    planner.add(std::move(source), found == others.end() ? AnswersByItem() : found->second);
  }
  planner.finish();
  if (!options.against.empty() && !std::filesystem::is_directory(options.against)) {
    plan.settings["judge.against"] = data_sha256(options.against);
  }
  plan.settings["judge.mode"] = options.mode;
  plan.settings["judge.templates"] = planner.templates().sha256;
  plan.settings["judge.references"] =
      options.references.empty() ? "" : data_sha256(options.references);
  plan.settings["judge.parser"] = plan.parser_name;
  plan.settings["judge.repeats"] = std::to_string(options.repeats);
  plan.settings["judge.seed"] = std::to_string(options.seed);
  plan.settings["judge.temperature"] = c10::str(options.temperature);
  plan.settings["judge.max_tokens"] = std::to_string(options.max_tokens);
  plan.settings["judge.limit"] = std::to_string(options.limit);
  plan.settings["judge.on_error"] = options.on_error;
  if (!options.against.empty()) plan.settings["judge.order"] = options.order;
  return plan;
}

}  // namespace cupel
