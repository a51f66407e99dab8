#include "compress/prune_rows.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/select_lowest.h"
#include "core/clones.h"
#include "core/large_tensor.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

// What was pruned before goes first, whatever its score.
CUPEL_CLONES
void make_scores(const float* weight, const float* scale, const bool* kept, float* scores,
                 int64_t size) {
  for (int64_t i = 0; i < size; ++i) scores[i] = std::fabs(weight[i]) * scale[i];
  if (kept) {
    for (int64_t i = 0; i < size; ++i) {
      scores[i] = kept[i] ? scores[i] : -std::numeric_limits<float>::infinity();
    }
  }
}

CUPEL_CLONES
void keep_marked(const float* weight, bool* keep, const bool* kept, float* to, int64_t size) {
  if (kept) {
    for (int64_t i = 0; i < size; ++i) keep[i] &= kept[i];
  }
  for (int64_t i = 0; i < size; ++i) to[i] = kept_or_zero(weight[i], keep[i]);
}

}  // namespace

PrunedRows prune_rows(const torch::Tensor& weight, const torch::Tensor& scale,
                      const torch::Tensor& kept, const RowRule& rule, const std::string& name) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  PrunedRows made{large_empty({rows, columns}, at::kBool),
                  large_empty({rows, columns}, at::kFloat)};
  const auto before = kept.defined() ? kept.contiguous() : kept;
  const bool* marks = kept.defined() ? before.const_data_ptr<bool>() : nullptr;
  const float* from = weight.const_data_ptr<float>();
  const float* factors = scale.const_data_ptr<float>();
  bool* keep = made.mask.mutable_data_ptr<bool>();
  float* to = made.weight.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(columns, 1));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(columns);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * columns;
      const bool* old = marks ? marks + at : nullptr;
      make_scores(from + at, factors, old, scores.data(), columns);
      const int64_t nan = find_nan(scores.data(), columns);
      if (nan >= 0) refuse_nan_score(row, nan, name);
      if (rule.m > 0) {
        keep_all_but_lowest_of_m(scores.data(), keep + at, columns / rule.m, rule.m,
                                 rule.m - rule.n, rule.lower_first);
      } else {
        keep_all_but_lowest(scores.data(), keep + at, columns, rule.counts[row], rule.lower_first);
      }
      keep_marked(from + at, keep + at, old, to + at, columns);
    }
  });
  return made;
}

}  // namespace cupel
