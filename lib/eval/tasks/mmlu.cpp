// MMLU (Hendrycks et al. 2021): 57 subjects, four options, by letter. Two protocols look at the same
// requests. "paper" is LLM-KICK's rule (arXiv 2310.01382): one greedy token, of which the last
// character counts, whatever it is. "strict" takes the likeliest of the four letters.
#include <algorithm>
#include <cmath>
#include <set>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "eval/tasks/mmlu_categories.h"
#include "eval/tasks/mmlu_fit.h"
#include "eval/tasks/mmlu_metrics.h"
#include "eval/tasks/mmlu_questions.h"
#include "eval/text_measure.h"

namespace cupel {

namespace {

const std::vector<std::string> kLetterContinuations{" A", " B", " C", " D"};

std::string last_character(const std::string& text) {
  std::size_t at = text.size();
  while (at > 0 && (static_cast<unsigned char>(text[--at]) >> 6) == 2) continue;
  return text.substr(at);
}

bool is_letter(const std::string& text) {
  const auto& letters = mmlu_letters();
  return std::find(letters.begin(), letters.end(), text) != letters.end();
}

bool has_flag(const std::vector<std::string>& flags, const std::string& flag) {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

// Whether a log-likelihood says what a generation of one token would.
bool says_greedy(const LogLikelihood& likelihood) {
  return likelihood.greedy_text && !has_flag(likelihood.flags, "boundary_shift");
}

std::set<std::string> parts(const std::string& text) {
  std::set<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    parts.insert(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

class Mmlu : public Task {
 public:
  TaskInfo info() const override;
  void set_measure(const TextMeasure& measure) override { measure_ = measure; }
  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override;
  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override;
  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override;
  std::map<std::string, double> aggregate(const std::vector<ItemScore>& scores,
                                          const std::string&) const override {
    return mmlu_metrics(scores, shots_);
  }

 private:
  MmluForm form(const std::string& protocol) const {
    return protocol == "paper" ? MmluForm::kick : form_;
  }
  void load_subject(const std::string& path, const std::string& subject, int64_t most,
                    std::vector<TaskItem>& items);
  void fit(const MmluFitter& fitter, const std::string& protocol, const MmluQuestion& question,
           TaskItem& item) const;
  std::string prompt(const TaskItem& item, const std::string& protocol) const;
  void score_paper(const std::string& prompt, const std::vector<TaskOutput>& outputs,
                   ItemScore& score) const;
  void score_strict(const TaskItem& item, const std::vector<TaskOutput>& outputs,
                    ItemScore& score) const;

  TextMeasure measure_;
  std::string split_;
  MmluForm form_ = MmluForm::kick;
  int64_t shots_ = 0;
  bool full_text_ = false;
  // Beginnings with 0, 1, ... shots, by form and subject.
  std::map<MmluForm, std::map<std::string, std::vector<std::string>>> heads_;
};

TaskInfo Mmlu::info() const {
  return {.name = "mmlu",
          .description = "57 subjects, four options, by letter",
          .protocols = {"strict", "paper"},
          .options = {{"shots", "5", "examples before the question, from the split dev"},
                      {"form", "kick",
                       "prompt of the protocol strict: kick (= hendrycks), plain or harness"},
                      {"split", "test", "test, val or dev"},
                      {"subjects", "all", "some, joined by +"},
                      {"per_subject", "0", "the first questions of each subject; 0 = all"},
                      {"full_text", "0",
                       "1: strict also scores the options' text, four more continuations a "
                       "question"}},
          .data = "mmlu"};
}

std::vector<TaskItem> Mmlu::load(const std::string& path, const TaskOptions& options) {
  shots_ = options.whole("shots");
  form_ = mmlu_form(options.text("form"));
  split_ = options.text("split");
  check(split_ == "test" || split_ == "val" || split_ == "dev", "evaluate",
        "mmlu:split is test, val or dev. Got '", split_, "'.");
  check(split_ != "dev" || shots_ == 0, "evaluate",
        "mmlu:split=dev needs shots=0, since the shots are its questions. Got shots=", shots_, ".");
  const int64_t full_text = options.whole("full_text");
  check(full_text <= 1, "evaluate", "mmlu:full_text is 0 or 1. Got ", full_text, ".");
  full_text_ = full_text == 1;
  std::vector<std::string> subjects = mmlu_subjects(path, split_);
  if (options.text("subjects") != "all") {
    const std::set<std::string> wanted = parts(options.text("subjects"));
    for (const auto& subject : wanted) {
      check(std::binary_search(subjects.begin(), subjects.end(), subject), "evaluate",
            "mmlu:subjects names subjects that have a file in '", path, "'. Got '", subject, "'.");
    }
    subjects = std::vector<std::string>(wanted.begin(), wanted.end());
  }
  heads_.clear();
  std::vector<TaskItem> items;
  for (const auto& subject : subjects) {
    load_subject(path, subject, options.whole("per_subject"), items);
  }
  return items;
}

void Mmlu::load_subject(const std::string& path, const std::string& subject, int64_t most,
                        std::vector<TaskItem>& items) {
  std::vector<MmluQuestion> examples;
  if (shots_ > 0) examples = read_mmlu(path, "dev", subject);
  if (static_cast<int64_t>(examples.size()) < shots_) {
    throw FormatError(
        path + "/dev/" + subject + "_dev.csv", "",
        c10::str("holds ", examples.size(), " questions, where ", shots_, " shots are asked for."));
  }
  std::vector<MmluQuestion> questions = read_mmlu(path, split_, subject);
  if (most > 0 && most < static_cast<int64_t>(questions.size())) {
    questions.resize(static_cast<std::size_t>(most));
  }
  std::vector<std::pair<std::string, MmluFitter>> fitters;
  for (const char* protocol : {"paper", "strict"}) {
    const MmluForm its = form(protocol);
    auto& heads = heads_[its][subject];
    if (heads.empty()) heads = mmlu_heads(its, subject, examples, shots_);
    fitters.emplace_back(protocol, MmluFitter(measure_, its, heads));
  }
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto& [question, choices, letter] = questions[i];
    TaskItem item{subject + "/" + std::to_string(i), subject};
    item.fields["question"] = {question};
    item.fields["choices"] = {choices.begin(), choices.end()};
    item.fields["answer"] = {letter};
    for (const auto& [protocol, fitter] : fitters) fit(fitter, protocol, questions[i], item);
    items.push_back(std::move(item));
  }
}

// Writes what became of a prompt into the item: "paper_shots", and "paper_prompt" where it was cut.
void Mmlu::fit(const MmluFitter& fitter, const std::string& protocol, const MmluQuestion& question,
               TaskItem& item) const {
  if (protocol == "strict" && form_ == MmluForm::kick && !full_text_) {  // the same prompt
    for (const char* name : {"_shots", "_prompt"}) {
      const auto known = item.fields.find(std::string("paper") + name);
      if (known != item.fields.end()) item.fields["strict" + std::string(name)] = known->second;
    }
    return;
  }
  std::vector<std::string> continuations = kLetterContinuations;
  if (protocol == "strict" && full_text_) {
    for (const auto& option : question.options) continuations.push_back(" " + option);
  }
  MmluFitter::Fit made = fitter.fit(question, continuations);
  item.fields[protocol + "_shots"] = {std::to_string(made.shots)};
  if (made.is_cut) item.fields[protocol + "_prompt"] = {std::move(made.cut)};
}

std::string Mmlu::prompt(const TaskItem& item, const std::string& protocol) const {
  const auto cut = item.fields.find(protocol + "_prompt");
  if (cut != item.fields.end()) return cut->second.front();
  const MmluForm its = form(protocol);
  const auto& choices = item.list("choices");
  MmluQuestion question{item.text("question"), {}, ""};
  std::copy_n(choices.begin(), 4, question.options.begin());
  return heads_.at(its).at(item.category)[std::stoull(item.text(protocol + "_shots"))] +
         mmlu_body(its, question);
}

std::vector<TaskRequest> Mmlu::requests(const TaskItem& item, const std::string& protocol,
                                        const std::vector<TaskOutput>& outputs) const {
  std::vector<TaskRequest> requests;
  if (protocol == "paper" && outputs.size() == 1 && !says_greedy(outputs[0].likelihood)) {
    GenerationRequest one{prompt(item, protocol), 1};
    requests.push_back(TaskRequest::generate(std::move(one)));
  }
  if (!outputs.empty()) return requests;
  const std::string context = prompt(item, protocol);
  for (const auto& letter : kLetterContinuations) {
    requests.push_back(TaskRequest::log_likelihood(context, letter));
    // What comes first is the same for all of them; strict's own request, so it runs once.
    if (protocol == "paper") return requests;
  }
  if (!full_text_) return requests;
  for (const auto& choice : item.list("choices")) {
    requests.push_back(TaskRequest::log_likelihood(context, " " + choice));
  }
  return requests;
}

ItemScore Mmlu::score(const TaskItem& item, const std::string& protocol,
                      const std::vector<TaskOutput>& outputs) const {
  ItemScore score{item.id, item.category, "", item.text("answer"), {}};
  if (protocol == "paper") {
    score_paper(prompt(item, protocol), outputs, score);
  } else {
    score_strict(item, outputs, score);
  }
  score.values["accuracy"] = score.prediction == score.gold ? 1.0 : 0.0;
  const std::string& shots = item.text(protocol + "_shots");
  if (shots != std::to_string(shots_)) {
    score.flags.emplace_back("shots_dropped");
    score.flags.push_back("shots_" + shots);
  }
  if (item.fields.count(protocol + "_prompt")) score.flags.emplace_back("cut");
  if (!mmlu_place(item.category).known) score.flags.emplace_back("unknown_subject");
  return score;
}

void Mmlu::score_paper(const std::string& prompt, const std::vector<TaskOutput>& outputs,
                       ItemScore& score) const {
  const std::string answer = outputs.size() > 1 ? outputs[1].generation.text
                                                : outputs.at(0).likelihood.greedy_text.value();
  score.prediction = last_character(prompt + answer);
  if (!is_letter(score.prediction)) score.flags.emplace_back("invalid");
}

void Mmlu::score_strict(const TaskItem& item, const std::vector<TaskOutput>& outputs,
                        ItemScore& score) const {
  std::vector<double> letters, texts, by_character;
  double mass = 0;
  bool greedy = false;
  for (std::size_t i = 0; i < 4; ++i) {
    letters.push_back(outputs.at(i).likelihood.value);
    mass += std::exp(letters[i]);
    greedy = greedy || outputs[i].likelihood.is_greedy;
  }
  // Ties go to the earlier letter.
  const auto best = [](const std::vector<double>& values) {
    return std::max_element(values.begin(), values.end()) - values.begin();
  };
  score.prediction = mmlu_letters()[best(letters)];
  score.values["letter_mass"] = mass;
  if (!greedy) score.flags.emplace_back("invalid");
  if (!full_text_) return;
  const auto& choices = item.list("choices");
  for (std::size_t i = 0; i < 4; ++i) {
    texts.push_back(outputs.at(4 + i).likelihood.value);
    by_character.push_back(texts[i] / characters(choices[i]));
  }
  const auto right = [&](const std::vector<double>& values) {
    return mmlu_letters()[best(values)] == score.gold ? 1.0 : 0.0;
  };
  score.values["text_accuracy"] = right(texts);
  score.values["text_acc_norm"] = right(by_character);
}

}  // namespace

std::shared_ptr<Task> mmlu() { return std::make_shared<Mmlu>(); }

}  // namespace cupel
