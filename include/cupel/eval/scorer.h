#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

/// How likely a continuation is after its context.
struct LogLikelihood {
  double value = 0;       ///< nats, summed over the scored tokens
  bool is_greedy = true;  ///< every scored token was the likeliest one (ties: the lowest id)
  int64_t tokens = 0;     ///< scored tokens
  /// "boundary_shift": a token spans the join of context and continuation; "truncated": the
  /// context lost its beginning, as `over_long` allows.
  std::vector<std::string> flags = {};
  /// The likeliest token in the place of the first scored one, as text: what generate() answers
  /// greedily to the same tokens when asked for one. "" for the end of sequence; no value where the
  /// scorer does not say.
  std::optional<std::string> greedy_text = {};
};

/// What is to be continued, and how.
struct GenerationRequest {
  std::string prompt;
  int64_t max_new_tokens = 64;
  std::vector<std::string> stop = {};  ///< the text ends before the first of these
  double temperature = 0;              ///< 0 = greedy (ties: the lowest id)
  int64_t top_k = 0;                   ///< sample among the k likeliest; 0 = all
  double top_p = 1.0;                  ///< sample within this probability mass
  uint64_t seed = 0;                   ///< of this request's own random numbers
  /// Texts of the prompt that stand for special tokens, as a chat template has them. Each becomes its
  /// one token (Tokenizer::special_id), and the texts between are encoded by themselves.
  std::vector<std::string> special = {};
};

struct Generation {
  std::string text;
  int64_t tokens = 0;  ///< new ones, those of a stop string included, the end of sequence not
  std::string finish;  ///< "stop", "end" (end of sequence) or "length"
  /// "empty": no text but white space; "repetition": the end is a short piece over and over (see
  /// docs/evaluation.md); "no_stop": stop strings were given and none was met before the length
  /// ran out; "truncated": the prompt lost its beginning, as `over_long` allows; "unknown_token": the
  /// model chose ids that the tokenizer lacks, which are no text.
  std::vector<std::string> flags = {};
};

/// A context and what follows it.
using ScoredPair = std::pair<std::string, std::string>;

/// What a scorer says of itself; goes into every result and decides whether a record may be resumed.
struct ScorerInfo {
  TokenModelInfo model;
  std::string tokenizer;                        ///< fingerprint
  std::map<std::string, std::string> settings;  ///< everything that can change a score
};

/// Tokens that a scorer's model ran, and those that shared beginnings saved.
struct ScorerCounts {
  int64_t run = 0, shared = 0;
};

/// Token counts of texts, for prompts whose shape depends on them.
struct TextMeasure {
  int64_t limit = 0;  ///< positions of the model; 0 = unknown
  /// Tokens of a text as a prompt, special tokens in front included; empty when the scorer cannot
  /// count.
  std::function<int64_t(const std::string& text)> count = {};
  /// The same of a prompt with special tokens (GenerationRequest::special); may be empty.
  std::function<int64_t(const std::string& text, const std::vector<std::string>& special)>
      count_special = {};

  /// Whether lengths are known at all.
  bool known() const { return limit > 0 && count; }
  /// Tokens of a prompt; where the scorer knows nothing of special tokens they count as text.
  int64_t prompt(const std::string& text, const std::vector<std::string>& special) const {
    return count_special ? count_special(text, special) : count(text);
  }
  /// The longest beginning, or end, in characters, of a text that as a prompt is at most `tokens`
  /// long; found by bisection. std::invalid_argument when the scorer cannot count.
  std::string head(const std::string& text, int64_t tokens) const;
  std::string tail(const std::string& text, int64_t tokens) const;
};

/// Text in, scores out: the waist that tasks see.
class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual ScorerInfo info() const = 0;

  /// log p(continuation | context) for each pair.
  virtual std::vector<LogLikelihood> log_likelihood(const std::vector<ScoredPair>& requests) = 0;
  /// log p(text) of whole texts, each token scored once.
  virtual std::vector<LogLikelihood> rolling_log_likelihood(
      const std::vector<std::string>& texts) = 0;
  /// Continuations. A request's text does not depend on the others or on their order.
  virtual std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) = 0;

  /// Announces every pair that later calls will score, so that beginnings common to many are found
  /// once for all calls, and a call's scores have the same bytes whatever calls came before it.
  /// Returns the tokens that each pair will cost beyond what it shares. Optional: by default nothing, and
  /// nothing is known.
  virtual std::vector<int64_t> prepare(const std::vector<ScoredPair>&) { return {}; }

  /// By default nothing is known.
  virtual TextMeasure measure() const { return {}; }

  /// Since the scorer was made.
  virtual ScorerCounts counts() const { return {}; }
};

/// How ModelScorer turns text into tokens and runs them.
struct ScorerOptions {
  /// Where the continuation begins when a token spans the join. "joint": context and continuation
  /// are encoded as one text, and all that follows the longest common token prefix with the
  /// context's own encoding is scored. "split": both are encoded apart. "harness": as lm-eval 0.4
  /// does, bit for bit (docs/evaluation.md says how it differs).
  std::string boundary = "joint";
  /// Begin-of-sequence token: "auto" as the tokenizer's own configuration says, "always", "never".
  std::string bos = "auto";
  /// Requests longer than the model: "error", or "truncate_left", which drops the beginning and
  /// flags the result.
  std::string over_long = "error";
  bool share_prefixes = true;      ///< run a common beginning once
  int64_t verify_prefix = 0;       ///< score this many requests of each call again without sharing
  double verify_tolerance = 1e-3;  ///< nats; NumericalError beyond it
  int64_t batch_tokens = 2048;     ///< tokens run together
  int64_t state_bytes = int64_t{1} << 30;  ///< memory for the states of common beginnings
  ProgressFunction progress = {};
};

/// A scorer over any token model and tokenizer; both must outlive it.
///
/// std::invalid_argument when a request has no token to score, no token before it, or exceeds the
/// model's length and `over_long` is "error": nothing is cut silently. NumericalError naming the
/// request when a log-likelihood is NaN.
class ModelScorer : public Scorer {
 public:
  ModelScorer(TokenModel& model, const Tokenizer& tokenizer, ScorerOptions options = {});
  ~ModelScorer() override;

  /// Asks the model anew, so that the fingerprint is that of the weights as they are now.
  ScorerInfo info() const override;
  std::vector<LogLikelihood> log_likelihood(const std::vector<ScoredPair>& requests) override;
  std::vector<LogLikelihood> rolling_log_likelihood(const std::vector<std::string>& texts) override;
  std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) override;
  std::vector<int64_t> prepare(const std::vector<ScoredPair>& requests) override;
  TextMeasure measure() const override;
  ScorerCounts counts() const override;

  TokenModel& model() const;
  const Tokenizer& tokenizer() const;
  const std::string& bos() const;  ///< the option

 private:
  struct Engine;
  std::unique_ptr<Engine> engine_;
};

}  // namespace cupel
