#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "cupel/eval/token_model.h"

namespace cupel {

/// The sum of each row of x [rows, columns]. A single long row alone would be split among threads,
/// and its last bits would depend on their number.
torch::Tensor row_sums(const torch::Tensor& x);

/// A token whose log-probability is asked for after one wanted row of a run.
struct Target {
  int64_t row;  ///< counted through the wanted positions of the run
  int64_t token;
};

/// Of each target, in order.
struct TargetScores {
  std::vector<double> log_probability;  ///< nats
  std::vector<int64_t> top;             ///< the likeliest token of its row; ties: the lowest id
};

/// Runs `rows` and scores `targets`, sorted by row. States of the rows that keep one go to
/// `states` when given. Exponentials are taken in float32 relative to the largest logit and added up
/// in float64, see row_maxima().
TargetScores score_targets(TokenModel& model, const std::vector<TokenModel::Row>& rows,
                           const std::vector<Target>& targets,
                           std::vector<TokenModel::StatePtr>* states = nullptr);

/// Log-probabilities of the tokens first .. end of each sequence after those before them, the
/// sequences one after the other; one run.
TargetScores score_tokens(TokenModel& model, const std::vector<std::vector<int64_t>>& sequences,
                          int64_t first);

}  // namespace cupel
