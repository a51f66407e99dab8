#pragma once

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "cupel/eval/token_model.h"

namespace cupel {

/// Log-probabilities of the targets of some rows, and whether each was the likeliest token.
struct TokenScores {
  torch::Tensor log_probability;  ///< float64 [rows], nats
  torch::Tensor is_top;           ///< bool [rows]; ties count for the lowest id
};

/// Scores `targets` against logits float32 [rows, vocabulary]; log-sum-exp in float32.
inline TokenScores score_targets(const torch::Tensor& logits, const std::vector<int64_t>& targets) {
  const auto ids = at::tensor(at::ArrayRef<int64_t>(targets), at::kLong).to(logits.device());
  const auto picked = logits.gather(1, ids.unsqueeze(1)).squeeze(1);
  return {(picked - at::logsumexp(logits, {1})).to(at::kDouble).cpu(),
          logits.argmax(1).eq(ids).cpu()};
}

/// Scores tokens first .. end of `tokens` from those before them. Rows of logits are asked for and
/// reduced in one call of the model.
inline TokenScores score_tokens(TokenModel& model, const std::vector<int64_t>& tokens,
                                int64_t first) {
  std::vector<int64_t> wanted, targets(tokens.begin() + first, tokens.end());
  for (int64_t i = first; i < static_cast<int64_t>(tokens.size()); ++i) wanted.push_back(i - 1);
  const std::vector<int64_t> input(tokens.begin(), tokens.end() - 1);
  return score_targets(model.logits(input, wanted), targets);
}

}  // namespace cupel
