#include "cupel/eval/scorer.h"

#include <algorithm>
#include <cmath>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/parallel.h"
#include "cupel/core/unicode.h"
#include "eval/generator.h"
#include "eval/prefix_engine.h"
#include "eval/text_encoder.h"
#include "eval/text_measure.h"

namespace cupel {

struct ModelScorer::Engine {
  TokenModel& model;
  const Tokenizer& tokenizer;
  ScorerOptions options;
  TokenModelInfo info;
  std::shared_ptr<const TextEncoder> encoder;
  PrefixEngine prefixes;
  bool prepared = false;
  ScorerCounts generated = {};

  std::vector<TextEncoder::Pair> encode(const std::vector<ScoredPair>& requests) const {
    std::vector<TextEncoder::Pair> pairs(requests.size());
    const auto run = [&](int64_t begin, int64_t end) {
      const TextEncoder own = *encoder;  // remembers the last context
      for (int64_t i = begin; i < end; ++i) {
        pairs[i] = own.pair(requests[i].first, requests[i].second);
      }
    };
    const auto size = static_cast<int64_t>(requests.size());
    if (tokenizer.concurrent()) {
      parallel_for(size, 64, run);
    } else {
      run(0, size);
    }
    return pairs;
  }

  // Fits a request to the model's length, or says why not.
  bool cut(TokenRequest& request, const std::string& what) const {
    const int64_t over = request.input() - info.max_length;
    if (over <= 0) return false;
    check(options.over_long == "truncate_left", "ModelScorer", "a request must fit the model's ",
          info.max_length, " positions. Got ", request.input() + 1, " tokens for '",
          printable(what, 60), "' (over_long=\"truncate_left\" drops the beginning).");
    check(request.first > over, "ModelScorer", "what is scored must fit the model's ",
          info.max_length, " positions. Got ", request.tokens.size() - request.first,
          " tokens for '", printable(what, 60), "'.");
    request.tokens.erase(request.tokens.begin(), request.tokens.begin() + over);
    request.first -= over;
    return true;
  }

  // A NaN must not pass as a score.
  static void check_numbers(const std::vector<RequestScore>& scores,
                            const std::function<std::string(std::size_t)>& name) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (std::isnan(scores[i].log_probability)) {
        throw NumericalError(c10::str(
            "[ModelScorer] log-likelihoods must be numbers. Got NaN for '", printable(name(i), 60),
            "'; the model's weights or ", "activations overflow."));
      }
    }
  }

  // Scores some requests once more, each by itself.
  void verify(const std::vector<TokenRequest>& requests, const std::vector<RequestScore>& scores,
              const std::function<std::string(std::size_t)>& name) {
    const auto count = std::min<std::size_t>(options.verify_prefix, scores.size());
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t i = k * scores.size() / count;
      const double alone = prefixes.score_alone(requests[i]).log_probability;
      const double difference = std::abs(alone - scores[i].log_probability);
      if (difference > options.verify_tolerance) {
        throw NumericalError(
            c10::str("[ModelScorer] a shared prefix must not change a score by "
                     "more than ",
                     options.verify_tolerance, ". Got ", difference, " nats for '",
                     printable(name(i), 60), "'."));
      }
    }
  }
};

ModelScorer::ModelScorer(TokenModel& model, const Tokenizer& tokenizer, ScorerOptions options) {
  const char* here = "ModelScorer";
  check(options.over_long == "error" || options.over_long == "truncate_left", here,
        "over_long is error or truncate_left. Got '", options.over_long, "'.");
  check(options.batch_tokens >= 1 && options.state_bytes >= 0 && options.verify_prefix >= 0, here,
        "batch_tokens is at least 1, state_bytes and verify_prefix at least 0. Got ",
        options.batch_tokens, ", ", options.state_bytes, " and ", options.verify_prefix, ".");
  TokenModelInfo info = model.info();
  check(tokenizer.vocabulary() <= info.vocabulary, here,
        "the tokenizer must not make ids that the model lacks. Got ", tokenizer.vocabulary(),
        " ids for a vocabulary of ", info.vocabulary, ".");
  auto encoder = std::make_shared<const TextEncoder>(tokenizer, options.boundary, options.bos);
  PrefixEngine prefixes(model, info, options.share_prefixes, options.batch_tokens,
                        options.state_bytes);
  engine_.reset(new Engine{model, tokenizer, std::move(options), std::move(info),
                           std::move(encoder), std::move(prefixes)});
}

ModelScorer::~ModelScorer() = default;

TokenModel& ModelScorer::model() const { return engine_->model; }

const Tokenizer& ModelScorer::tokenizer() const { return engine_->tokenizer; }

const std::string& ModelScorer::bos() const { return engine_->options.bos; }

ScorerCounts ModelScorer::counts() const {
  const ScorerCounts& scored = engine_->prefixes.counts();
  return {scored.run + engine_->generated.run, scored.shared + engine_->generated.shared};
}

ScorerInfo ModelScorer::info() const {
  const ScorerOptions& options = engine_->options;
  const std::string sharing = engine_->prefixes.shares() ? "true"
                              : options.share_prefixes   ? "unavailable: the model keeps no states"
                                                         : "false";
  return {engine_->model.info(),
          engine_->tokenizer.fingerprint(),
          {{"boundary", options.boundary},
           {"bos", options.bos},
           {"over_long", options.over_long},
           {"share_prefixes", sharing},
           {"batch_tokens", std::to_string(options.batch_tokens)}}};
}

std::vector<int64_t> ModelScorer::prepare(const std::vector<ScoredPair>& requests) {
  std::vector<TokenRequest> encoded;
  auto pairs = engine_->encode(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    encoded.push_back(std::move(pairs[i].request));
    engine_->cut(encoded.back(), requests[i].second);
  }
  engine_->prepared = !requests.empty();
  return engine_->prefixes.announce(encoded);
}

std::vector<LogLikelihood> ModelScorer::log_likelihood(const std::vector<ScoredPair>& requests) {
  const ProgressReporter progress(engine_->options.progress);
  const auto report = [&](int64_t done) {
    progress.report({.stage = "score",
                     .name = "log_likelihood",
                     .done = done,
                     .total = static_cast<int64_t>(requests.size())});
  };
  report(0);
  std::vector<TokenRequest> encoded;
  std::vector<LogLikelihood> results(requests.size());
  auto pairs = engine_->encode(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto& pair = pairs[i];
    if (pair.boundary_shift) results[i].flags.push_back("boundary_shift");
    if (engine_->cut(pair.request, requests[i].second)) results[i].flags.push_back("truncated");
    encoded.push_back(std::move(pair.request));
  }
  if (!engine_->prepared) engine_->prefixes.announce(encoded);
  const auto scores = engine_->prefixes.score(encoded, report);
  const auto name = [&](std::size_t i) { return requests[i].second; };
  Engine::check_numbers(scores, name);
  engine_->verify(encoded, scores, name);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    results[i].value = scores[i].log_probability;
    results[i].is_greedy = scores[i].is_greedy;
    results[i].tokens = scores[i].tokens;
    const TokenRequest& request = encoded[i];
    results[i].greedy_text =
        scores[i].top == engine_->tokenizer.eos()
            ? ""
            : text_after(engine_->tokenizer, request.tokens.data(),
                         static_cast<std::size_t>(request.first), {scores[i].top});
  }
  return results;
}

TextMeasure ModelScorer::measure() const {
  // A task may keep the function longer than it should.
  const std::weak_ptr<const TextEncoder> kept = engine_->encoder;
  const auto count = [kept](const std::string& text, const std::vector<std::string>& special) {
    const auto encoder = kept.lock();
    check(encoder != nullptr, "TextMeasure", "the scorer that counts tokens is gone.");
    return static_cast<int64_t>(encoder->prompt(text, special).size());
  };
  return {.limit = engine_->info.max_length,
          .count = [count](const std::string& text) { return count(text, {}); },
          .count_special = count};
}

std::vector<LogLikelihood> ModelScorer::rolling_log_likelihood(
    const std::vector<std::string>& texts) {
  const ProgressReporter progress(engine_->options.progress);
  std::vector<TokenRequest> windows;
  std::vector<std::size_t> owners;
  const int64_t most = engine_->info.max_length;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<int64_t> ids = engine_->encoder->text(texts[i]);
    const int64_t start = engine_->encoder->start();
    // The harness scores a BOS that the tokenizer added, after one of its own; we do not.
    const bool twice =
        !ids.empty() && ids.front() == start && engine_->options.boundary != "harness";
    if (!twice) ids.insert(ids.begin(), start);
    const auto size = static_cast<int64_t>(ids.size());
    check(size >= 2, "ModelScorer", "there must be a token to score. Got '",
          printable(texts[i], 60), "'.");
    // Windows of new tokens behind one of context, the last filled up with all that fits.
    for (int64_t done = 1; done < size;) {
      const int64_t end = std::min(size, done + most);
      const int64_t begin = std::max<int64_t>(0, end - most - 1);
      windows.push_back({{ids.begin() + begin, ids.begin() + end}, done - begin});
      owners.push_back(i);
      done = end;
    }
  }
  const auto report = [&](int64_t done) {
    progress.report({.stage = "score",
                     .name = "rolling_log_likelihood",
                     .done = done,
                     .total = static_cast<int64_t>(windows.size())});
  };
  report(0);
  const auto scores = engine_->prefixes.score(windows, report, false);
  Engine::check_numbers(scores, [&](std::size_t i) { return texts[owners[i]]; });
  std::vector<LogLikelihood> results(texts.size());
  for (std::size_t i = 0; i < windows.size(); ++i) {
    LogLikelihood& result = results[owners[i]];
    result.value += scores[i].log_probability;
    result.is_greedy = result.is_greedy && scores[i].is_greedy;
    result.tokens += scores[i].tokens;
  }
  return results;
}

std::vector<Generation> ModelScorer::generate(const std::vector<GenerationRequest>& requests) {
  return generate_text(engine_->model, engine_->info, *engine_->encoder, engine_->tokenizer,
                       engine_->options, requests, engine_->generated);
}

}  // namespace cupel
