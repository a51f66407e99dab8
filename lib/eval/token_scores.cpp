#include "eval/token_scores.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>

#include "cupel/core/check.h"
#include "model/row_kernels.h"

namespace cupel {

namespace {

// Scores targets [begin, end) against logits whose first row is `first`.
void score_piece(const torch::Tensor& logits, int64_t first, const std::vector<Target>& targets,
                 std::size_t begin, std::size_t end, TargetScores& scores) {
  std::vector<int64_t> rows, tokens;
  for (std::size_t i = begin; i < end; ++i) {
    rows.push_back(targets[i].row - first);
    tokens.push_back(targets[i].token);
  }
  const auto ids = [&](const std::vector<int64_t>& values) {
    return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(logits.device());
  };
  const auto row = ids(rows);
  const auto picked = logits.flatten().index_select(0, row * logits.size(1) + ids(tokens));
  const RowMaxima maxima = row_maxima(logits);
  const auto p = picked.to(at::kFloat).cpu().contiguous();
  for (std::size_t i = begin; i < end; ++i) {
    const int64_t r = rows[i - begin];
    const double value = p.const_data_ptr<float>()[i - begin];
    const double largest = maxima.largest.const_data_ptr<float>()[r];
    scores.log_probability.push_back(value - largest -
                                     std::log(maxima.sum.const_data_ptr<double>()[r]));
    scores.top.push_back(maxima.index.const_data_ptr<int64_t>()[r]);
  }
}

}  // namespace

torch::Tensor row_sums(const torch::Tensor& x) {
  return x.size(0) == 1 ? x.expand({2, x.size(1)}).sum(1).narrow(0, 0, 1) : x.sum(1);
}

TargetScores score_targets(TokenModel& model, const std::vector<TokenModel::Row>& rows,
                           const std::vector<Target>& targets,
                           std::vector<TokenModel::StatePtr>* states) {
  TargetScores scores;
  std::size_t begin = 0;
  const auto sink = [&](int64_t first, const torch::Tensor& logits) {
    std::size_t end = begin;
    while (end < targets.size() && targets[end].row < first + logits.size(0)) ++end;
    if (end > begin) score_piece(logits, first, targets, begin, end, scores);
    begin = end;
  };
  auto kept = model.run(rows, sink);
  check(begin == targets.size(), "TokenModel",
        "run must give the logits of every wanted position. ", "Got ", begin, " of ",
        targets.size(), " targets.");
  if (states) *states = std::move(kept);
  return scores;
}

TargetScores score_tokens(TokenModel& model, const std::vector<std::vector<int64_t>>& sequences,
                          int64_t first) {
  std::vector<TokenModel::Row> rows;
  std::vector<Target> targets;
  for (const auto& tokens : sequences) {
    TokenModel::Row row{.tokens = {tokens.begin(), tokens.end() - 1}};
    for (auto i = static_cast<std::size_t>(first); i < tokens.size(); ++i) {
      row.wanted.push_back(static_cast<int64_t>(i) - 1);
      targets.push_back({static_cast<int64_t>(targets.size()), tokens[i]});
    }
    rows.push_back(std::move(row));
  }
  return score_targets(model, rows, targets);
}

}  // namespace cupel
