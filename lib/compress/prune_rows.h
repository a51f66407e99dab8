#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/compress/pattern.h"

namespace cupel {

/// What goes of each row: `counts` [out] of its lowest scores, or all but n of every m.
struct RowRule {
  std::vector<int64_t> counts;
  int64_t n = 0, m = 0;      ///< m = 0: by counts
  bool lower_first = false;  ///< of equal scores the lower column goes first
};

/// The rule of a pattern whose weights are compared within rows or n:m groups, for scores of this shape.
/// Throws std::invalid_argument where it does not fit the shape.
RowRule row_rule(const Pattern& pattern, at::IntArrayRef shape, Rules rules,
                 const std::string& name);

/// Throws the NumericalError of a score that is NaN; `name` is the layer.
[[noreturn]] void refuse_nan_score(int64_t row, int64_t column, const std::string& name);

struct PrunedRows {
  torch::Tensor mask;    ///< [out, in] bool
  torch::Tensor weight;  ///< [out, in] float32, zero where the mask is false
};

/// Prunes by scores |W_ij| * scale_j, row by row, so that no score is ever written to memory. weight
/// [out, in] float32 and scale [in] float32, both contiguous on the CPU; `kept` [out, in] bool, the mask
/// of an earlier pruning, may be undefined: what it prunes goes first. Throws NumericalError for a score
/// that is NaN.
PrunedRows prune_rows(const torch::Tensor& weight, const torch::Tensor& scale,
                      const torch::Tensor& kept, const RowRule& rule, const std::string& name);

}  // namespace cupel
