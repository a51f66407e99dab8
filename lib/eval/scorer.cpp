#include "cupel/eval/scorer.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "eval/token_scores.h"

namespace cupel {

namespace {

// Text of `ids` as it continues `prompt`: SentencePiece drops a leading space of what it decodes
// alone, so both are decoded and the prompt's text is taken off.
std::string continuation_text(const Tokenizer& tokenizer, const std::vector<int64_t>& prompt,
                              const std::vector<int64_t>& ids) {
  std::vector<int64_t> all = prompt;
  all.insert(all.end(), ids.begin(), ids.end());
  const std::string before = tokenizer.decode(prompt), whole = tokenizer.decode(all);
  return whole.rfind(before, 0) == 0 ? whole.substr(before.size()) : tokenizer.decode(ids);
}

}  // namespace

struct ModelScorer::Engine {
  TokenModel& model;
  const Tokenizer& tokenizer;
  ScorerOptions options;
  TokenModelInfo info;
  ScorerCounts counts;

  LogLikelihood score(const std::vector<int64_t>& tokens, int64_t first, const std::string& what);
};

ModelScorer::ModelScorer(TokenModel& model, const Tokenizer& tokenizer, ScorerOptions options)
    : engine_(new Engine{model, tokenizer, std::move(options), model.info(), {}}) {
  check(tokenizer.vocabulary() <= engine_->info.vocabulary, "ModelScorer",
        "the tokenizer must not make ids that the model lacks. Got ", tokenizer.vocabulary(),
        " ids for a vocabulary of ", engine_->info.vocabulary, ".");
}

ModelScorer::~ModelScorer() = default;

TokenModel& ModelScorer::model() const { return engine_->model; }

const Tokenizer& ModelScorer::tokenizer() const { return engine_->tokenizer; }

ScorerCounts ModelScorer::counts() const { return engine_->counts; }

std::vector<int64_t> ModelScorer::prepare(const std::vector<ScoredPair>&) { return {}; }

ScorerInfo ModelScorer::info() const {
  return {engine_->info, engine_->tokenizer.fingerprint(), {}};
}

LogLikelihood ModelScorer::Engine::score(const std::vector<int64_t>& tokens, int64_t first,
                                         const std::string& what) {
  const auto size = static_cast<int64_t>(tokens.size());
  check(first >= 1, "ModelScorer", "there must be a token before the first scored one. Got '",
        printable(what, 60), "' and a tokenizer without BOS.");
  check(first < size, "ModelScorer", "there must be a token to score. Got '", printable(what, 60),
        "'.");
  check(size - 1 <= info.max_length, "ModelScorer", "a request must fit the model's ",
        info.max_length, " positions. Got ", size, " tokens for '", printable(what, 60), "'.");
  const TargetScores scores = score_tokens(model, {tokens}, first);
  return {std::accumulate(scores.log_probability.begin(), scores.log_probability.end(), 0.0),
          std::all_of(scores.is_top.begin(), scores.is_top.end(), [](char top) { return top; }),
          size - first,
          {}};
}

std::vector<LogLikelihood> ModelScorer::log_likelihood(
    const std::vector<std::pair<std::string, std::string>>& requests) {
  const ProgressReporter progress(engine_->options.progress);
  std::vector<LogLikelihood> results;
  for (const auto& [context, continuation] : requests) {
    progress.report({.stage = "score",
                     .name = "log_likelihood",
                     .done = static_cast<int64_t>(results.size()),
                     .total = static_cast<int64_t>(requests.size())});
    std::vector<int64_t> alone = engine_->tokenizer.encode(context);
    std::vector<int64_t> whole = engine_->tokenizer.encode(context + continuation);
    if (alone.empty() && engine_->tokenizer.bos() >= 0) {
      alone = {engine_->tokenizer.bos()};
      whole.insert(whole.begin(), engine_->tokenizer.bos());
    }
    const auto join = std::mismatch(alone.begin(), alone.end(), whole.begin(), whole.end()).first;
    const int64_t first = join - alone.begin();
    LogLikelihood result = engine_->score(whole, first, continuation);
    if (join != alone.end()) result.flags.push_back("boundary_shift");
    results.push_back(std::move(result));
  }
  return results;
}

std::vector<LogLikelihood> ModelScorer::rolling_log_likelihood(
    const std::vector<std::string>& texts) {
  const ProgressReporter progress(engine_->options.progress);
  std::vector<LogLikelihood> results;
  for (const auto& text : texts) {
    progress.report({.stage = "score",
                     .name = "rolling_log_likelihood",
                     .done = static_cast<int64_t>(results.size()),
                     .total = static_cast<int64_t>(texts.size())});
    std::vector<int64_t> ids = engine_->tokenizer.encode(text);
    const bool starts_with_bos = !ids.empty() && ids.front() == engine_->tokenizer.bos();
    if (!starts_with_bos && engine_->tokenizer.bos() >= 0)
      ids.insert(ids.begin(), engine_->tokenizer.bos());
    check(ids.size() >= 2, "ModelScorer", "there must be a token to score. Got '",
          printable(text, 60), "'.");
    // Disjoint windows; each starts from the last token of the one before, so every token is
    // predicted once and never without a token before it.
    LogLikelihood total;
    const auto size = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin + 1 < size; begin += engine_->info.max_length) {
      const int64_t end = std::min(size, begin + engine_->info.max_length + 1);
      const std::vector<int64_t> window(ids.begin() + begin, ids.begin() + end);
      const LogLikelihood part = engine_->score(window, 1, text);
      total.value += part.value;
      total.tokens += part.tokens;
      total.is_greedy = total.is_greedy && part.is_greedy;
    }
    results.push_back(std::move(total));
  }
  return results;
}

std::vector<Generation> ModelScorer::generate(const std::vector<GenerationRequest>& requests) {
  const ProgressReporter progress(engine_->options.progress);
  std::vector<Generation> results;
  for (const auto& request : requests) {
    const std::vector<int64_t> prompt = engine_->tokenizer.encode(request.prompt);
    const auto size = static_cast<int64_t>(prompt.size());
    check(size >= 1, "ModelScorer", "a prompt needs at least one token.");
    check(request.max_new_tokens >= 0 && size + request.max_new_tokens <= engine_->info.max_length,
          "ModelScorer", "prompt and new tokens must fit the model's ", engine_->info.max_length,
          " positions. Got ", size, " + ", request.max_new_tokens, ".");
    Generation made{"", 0, "length"};
    std::vector<int64_t> ids, next = prompt;
    std::shared_ptr<const TokenModel::State> state;
    while (made.tokens < request.max_new_tokens && made.finish == "length") {
      progress.report({.stage = "generate",
                       .name = "",
                       .done = static_cast<int64_t>(results.size()),
                       .total = static_cast<int64_t>(requests.size())});
      const auto logits =
          engine_->model.logits(next, {static_cast<int64_t>(next.size()) - 1}, state);
      const int64_t id = logits[0].argmax().item<int64_t>();
      if (id == engine_->tokenizer.eos()) {
        made.finish = "end";
        break;
      }
      if (engine_->info
              .has_states) {  // what was just run becomes the state; only the new id runs next
        state = engine_->model.prefill(next, state);
        next = {id};
      } else {
        next.push_back(id);
      }
      ids.push_back(id);
      ++made.tokens;
      made.text = continuation_text(engine_->tokenizer, prompt, ids);
      for (const auto& stop : request.stop) {
        const std::size_t at = stop.empty() ? std::string::npos : made.text.find(stop);
        if (at == std::string::npos) continue;
        made.text.resize(at);
        made.finish = "stop";
      }
    }
    results.push_back(std::move(made));
  }
  return results;
}

}  // namespace cupel
