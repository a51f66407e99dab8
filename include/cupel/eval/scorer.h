#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

/// How likely a continuation is after its context.
struct LogLikelihood {
  double value = 0;                ///< nats, summed over the scored tokens
  bool is_greedy = true;           ///< every scored token was the likeliest one
  int64_t tokens = 0;              ///< scored tokens
  std::vector<std::string> flags;  ///< "boundary_shift": a token spans the join, see ModelScorer
};

struct GenerationRequest {
  std::string prompt;
  int64_t max_new_tokens = 64;
  std::vector<std::string> stop = {};  ///< the text ends before the first of these
};

struct Generation {
  std::string text;
  int64_t tokens = 0;
  std::string finish;  ///< "stop", "end" (end of sequence) or "length"
};

/// Text in, scores out: the waist that tasks see.
class Scorer {
 public:
  virtual ~Scorer() = default;

  /// log p(continuation | context) for each pair.
  virtual std::vector<LogLikelihood> log_likelihood(
      const std::vector<std::pair<std::string, std::string>>& requests) = 0;
  /// log p(text) of whole texts, each token scored once.
  virtual std::vector<LogLikelihood> rolling_log_likelihood(
      const std::vector<std::string>& texts) = 0;
  /// Greedy continuations.
  virtual std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) = 0;
};

/// A scorer over any token model and tokenizer; both must outlive it.
///
/// A request is encoded whole. When a token spans the join of context and continuation, everything
/// after the longest common token prefix is scored and the result is flagged "boundary_shift". An
/// empty context starts from BOS. std::invalid_argument when a request has no token to score, no
/// token before it, or exceeds the model's length: nothing is cut silently.
class ModelScorer : public Scorer {
 public:
  ModelScorer(TokenModel& model, const Tokenizer& tokenizer, ProgressFunction progress = {});

  std::vector<LogLikelihood> log_likelihood(
      const std::vector<std::pair<std::string, std::string>>& requests) override;
  std::vector<LogLikelihood> rolling_log_likelihood(const std::vector<std::string>& texts) override;
  std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) override;

 private:
  LogLikelihood score(const std::vector<int64_t>& tokens, int64_t first, const std::string& what);

  TokenModel& model_;
  const Tokenizer& tokenizer_;
  ProgressFunction progress_;
  TokenModelInfo info_;
};

}  // namespace cupel
