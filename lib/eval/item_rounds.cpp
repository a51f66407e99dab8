#include "eval/item_rounds.h"

#include <cmath>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr int64_t kMostRounds = 100;

// Where an answer goes.
struct Slot {
  std::size_t item;
  int64_t number;
};

template <typename Answer>
void check_answers(const std::vector<Slot>& slots, const std::vector<Answer>& answers,
                   const char* function) {
  check(slots.size() == answers.size(), "evaluate", "a scorer answers each request. Got ",
        answers.size(), " answers of ", function, " to ", slots.size(), " requests.");
}

}  // namespace

std::string request_text(const TaskRequest& request) {
  std::string text;
  const auto add = [&](const std::string& part) { text += c10::str(part.size(), ":", part, ";"); };
  if (request.kind == TaskRequest::Kind::log_likelihood) {
    text = "log_likelihood;";
    add(request.context);
    add(request.continuation);
  } else if (request.kind == TaskRequest::Kind::rolling) {
    text = "rolling;";
    add(request.text);
  } else {
    const GenerationRequest& asked = request.generation;
    text = "generate;";
    add(asked.prompt);
    for (const auto& stop : asked.stop) add(stop);
    for (const auto& special : asked.special) add("special " + special);
    text +=
        c10::str(asked.max_new_tokens, ";", asked.temperature, ";", asked.top_k, ";", asked.top_p);
  }
  return text;
}

ItemRounds::ItemRounds(const Task& task, const TaskItem& item,
                       const std::vector<std::string>& protocols, const std::string& name,
                       uint64_t seed)
    : task_(task),
      item_(item),
      protocols_(protocols),
      name_(name),
      seed_(seed),
      order_(protocols.size()),
      uses_(protocols.size()),
      ended_(protocols.size(), 0) {}

int64_t ItemRounds::number_of(TaskRequest request, std::map<std::string, int64_t>& uses) {
  std::string key = request_text(request);
  const bool samples =
      request.kind == TaskRequest::Kind::generate && request.generation.temperature > 0;
  if (samples) key += c10::str(";", uses[key]++);  // asked again, it is another sample
  const auto [at, fresh] = numbers_.emplace(key, size());
  if (fresh) {
    if (request.kind == TaskRequest::Kind::generate) {
      request.generation.seed = item_seed(seed_, name_, item_.id, at->second);
    }
    asked_.push_back({std::move(request), {}});
  }
  return at->second;
}

std::vector<int64_t> ItemRounds::next() {
  const int64_t before = size();
  for (std::size_t i = 0; i < protocols_.size(); ++i) {
    if (ended_[i]) continue;
    // A protocol whose new requests were all answered for another one is asked again at once.
    while (!ended_[i]) {
      check(round_++ < kMostRounds * static_cast<int64_t>(protocols_.size()), "evaluate",
            "requests() returns none at some time. Got task ", name_, ", which still asks after ",
            kMostRounds, " rounds for item '", printable(item_.id, 60), "'.");
      std::vector<TaskRequest> more = task_.requests(item_, protocols_[i], outputs(i));
      ended_[i] = more.empty();
      bool waits = false;
      for (auto& request : more) {
        order_[i].push_back(number_of(std::move(request), uses_[i]));
        waits = waits || order_[i].back() >= before;
      }
      if (waits) break;
    }
  }
  std::vector<int64_t> fresh;
  for (int64_t number = before; number < size(); ++number) fresh.push_back(number);
  return fresh;
}

std::vector<TaskOutput> ItemRounds::outputs(std::size_t protocol) const {
  std::vector<TaskOutput> outputs;
  for (const int64_t number : order_[protocol]) outputs.push_back(asked_[number].output);
  return outputs;
}

void run_rounds(Scorer& scorer, std::vector<ItemRounds>& items, const std::string& task) {
  while (true) {
    std::vector<Slot> pair_slots, text_slots, prompt_slots;
    std::vector<ScoredPair> pairs;
    std::vector<std::string> texts;
    std::vector<GenerationRequest> prompts;
    for (std::size_t i = 0; i < items.size(); ++i) {
      for (const int64_t number : items[i].next()) {
        const TaskRequest& request = items[i].request(number);
        if (request.kind == TaskRequest::Kind::log_likelihood) {
          pair_slots.push_back({i, number});
          pairs.emplace_back(request.context, request.continuation);
        } else if (request.kind == TaskRequest::Kind::rolling) {
          text_slots.push_back({i, number});
          texts.push_back(request.text);
        } else {
          prompt_slots.push_back({i, number});
          prompts.push_back(request.generation);
        }
      }
    }
    if (pairs.empty() && texts.empty() && prompts.empty()) return;
    const auto keep = [&](const std::vector<Slot>& slots, std::vector<LogLikelihood> answers,
                          const char* function) {
      check_answers(slots, answers, function);
      for (std::size_t i = 0; i < slots.size(); ++i) {
        ItemRounds& item = items[slots[i].item];
        if (std::isnan(answers[i].value)) {
          throw NumericalError(c10::str("[evaluate] log-likelihoods must be numbers. Got NaN in ",
                                        task, ", item '", printable(item.item().id, 60), "'."));
        }
        item.answer(slots[i].number, {.likelihood = std::move(answers[i])});
      }
    };
    if (!pairs.empty()) keep(pair_slots, scorer.log_likelihood(pairs), "log_likelihood");
    if (!texts.empty()) {
      keep(text_slots, scorer.rolling_log_likelihood(texts), "rolling_log_likelihood");
    }
    if (prompts.empty()) continue;
    std::vector<Generation> made = scorer.generate(prompts);
    check_answers(prompt_slots, made, "generate");
    for (std::size_t i = 0; i < prompt_slots.size(); ++i) {
      items[prompt_slots[i].item].answer(prompt_slots[i].number,
                                         {.generation = std::move(made[i])});
    }
  }
}

}  // namespace cupel
