#include "cupel/eval/scorer.h"

#include <torch/types.h>

#include <algorithm>

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

ModelScorer::ModelScorer(TokenModel& model, const Tokenizer& tokenizer, ProgressFunction progress)
    : model_(model), tokenizer_(tokenizer), progress_(std::move(progress)), info_(model.info()) {
  check(tokenizer.vocabulary() <= info_.vocabulary, "ModelScorer",
        "the tokenizer must not make ids that the model lacks. Got ", tokenizer.vocabulary(),
        " ids for a vocabulary of ", info_.vocabulary, ".");
}

LogLikelihood ModelScorer::score(const std::vector<int64_t>& tokens, int64_t first,
                                 const std::string& what) {
  const auto size = static_cast<int64_t>(tokens.size());
  check(first >= 1, "ModelScorer", "there must be a token before the first scored one. Got '",
        printable(what, 60), "' and a tokenizer without BOS.");
  check(first < size, "ModelScorer", "there must be a token to score. Got '", printable(what, 60),
        "'.");
  check(size - 1 <= info_.max_length, "ModelScorer", "a request must fit the model's ",
        info_.max_length, " positions. Got ", size, " tokens for '", printable(what, 60), "'.");
  const TokenScores scores = score_tokens(model_, {tokens}, first);
  return {scores.log_probability.sum().item<double>(),
          scores.is_top.all().item<bool>(),
          size - first,
          {}};
}

std::vector<LogLikelihood> ModelScorer::log_likelihood(
    const std::vector<std::pair<std::string, std::string>>& requests) {
  const ProgressReporter progress(progress_);
  std::vector<LogLikelihood> results;
  for (const auto& [context, continuation] : requests) {
    progress.report({.stage = "score",
                     .name = "log_likelihood",
                     .done = static_cast<int64_t>(results.size()),
                     .total = static_cast<int64_t>(requests.size())});
    std::vector<int64_t> alone = tokenizer_.encode(context);
    std::vector<int64_t> whole = tokenizer_.encode(context + continuation);
    if (alone.empty() && tokenizer_.bos() >= 0) {
      alone = {tokenizer_.bos()};
      whole.insert(whole.begin(), tokenizer_.bos());
    }
    const auto join = std::mismatch(alone.begin(), alone.end(), whole.begin(), whole.end()).first;
    const int64_t first = join - alone.begin();
    LogLikelihood result = score(whole, first, continuation);
    if (join != alone.end()) result.flags.push_back("boundary_shift");
    results.push_back(std::move(result));
  }
  return results;
}

std::vector<LogLikelihood> ModelScorer::rolling_log_likelihood(
    const std::vector<std::string>& texts) {
  const ProgressReporter progress(progress_);
  std::vector<LogLikelihood> results;
  for (const auto& text : texts) {
    progress.report({.stage = "score",
                     .name = "rolling_log_likelihood",
                     .done = static_cast<int64_t>(results.size()),
                     .total = static_cast<int64_t>(texts.size())});
    std::vector<int64_t> ids = tokenizer_.encode(text);
    const bool starts_with_bos = !ids.empty() && ids.front() == tokenizer_.bos();
    if (!starts_with_bos && tokenizer_.bos() >= 0) ids.insert(ids.begin(), tokenizer_.bos());
    check(ids.size() >= 2, "ModelScorer", "there must be a token to score. Got '",
          printable(text, 60), "'.");
    // Disjoint windows; each starts from the last token of the one before, so every token is
    // predicted once and never without a token before it.
    LogLikelihood total;
    const auto size = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin + 1 < size; begin += info_.max_length) {
      const int64_t end = std::min(size, begin + info_.max_length + 1);
      const std::vector<int64_t> window(ids.begin() + begin, ids.begin() + end);
      const LogLikelihood part = score(window, 1, text);
      total.value += part.value;
      total.tokens += part.tokens;
      total.is_greedy = total.is_greedy && part.is_greedy;
    }
    results.push_back(std::move(total));
  }
  return results;
}

std::vector<Generation> ModelScorer::generate(const std::vector<GenerationRequest>& requests) {
  const ProgressReporter progress(progress_);
  std::vector<Generation> results;
  for (const auto& request : requests) {
    const std::vector<int64_t> prompt = tokenizer_.encode(request.prompt);
    const auto size = static_cast<int64_t>(prompt.size());
    check(size >= 1, "ModelScorer", "a prompt needs at least one token.");
    check(request.max_new_tokens >= 0 && size + request.max_new_tokens <= info_.max_length,
          "ModelScorer", "prompt and new tokens must fit the model's ", info_.max_length,
          " positions. Got ", size, " + ", request.max_new_tokens, ".");
    Generation made{"", 0, "length"};
    std::vector<int64_t> ids, next = prompt;
    std::shared_ptr<const TokenModel::State> state;
    while (made.tokens < request.max_new_tokens && made.finish == "length") {
      progress.report({.stage = "generate",
                       .name = "",
                       .done = static_cast<int64_t>(results.size()),
                       .total = static_cast<int64_t>(requests.size())});
      const auto logits = model_.logits(next, {static_cast<int64_t>(next.size()) - 1}, state);
      const int64_t id = logits[0].argmax().item<int64_t>();
      if (id == tokenizer_.eos()) {
        made.finish = "end";
        break;
      }
      if (info_.has_states) {  // what was just run becomes the state; only the new id runs next
        state = model_.prefill(next, state);
        next = {id};
      } else {
        next.push_back(id);
      }
      ids.push_back(id);
      ++made.tokens;
      made.text = continuation_text(tokenizer_, prompt, ids);
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
