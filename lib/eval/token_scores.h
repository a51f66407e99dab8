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

/// Scores tokens first .. end of each sequence from those before them, the sequences one after
/// the other. Rows of logits are asked for and reduced in one call of the model.
inline TokenScores score_tokens(TokenModel& model,
                                const std::vector<std::vector<int64_t>>& sequences, int64_t first) {
  std::vector<std::vector<int64_t>> inputs, wanted;
  std::vector<int64_t> targets;
  for (const auto& tokens : sequences) {
    inputs.emplace_back(tokens.begin(), tokens.end() - 1);
    wanted.emplace_back();
    for (auto i = static_cast<std::size_t>(first); i < tokens.size(); ++i) {
      wanted.back().push_back(static_cast<int64_t>(i) - 1);
      targets.push_back(tokens[i]);
    }
  }
  return score_targets(model.batch_logits(inputs, wanted), targets);
}

}  // namespace cupel
