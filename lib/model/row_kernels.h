#pragma once

#include <torch/types.h>

#include <cstdint>

namespace cupel {

/// rms_norm() of rows in one pass over memory, for inference: 16-bit values are rounded once, at the
/// end. A row has the same bytes whatever the others are.
torch::Tensor fused_rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps);

/// The heads of a projection with rotary positions applied, for inference: x [1, length, heads * d],
/// cos and sin [length, d] with equal halves -> [1, heads, length, d], 16-bit values rounded once.
torch::Tensor fused_rotate(const torch::Tensor& x, int64_t heads, const torch::Tensor& cos,
                           const torch::Tensor& sin);

/// Of each row of logits [rows, vocabulary]: the largest, its lowest index, and the sum of
/// exp(logit - largest), added up in float64 from float32 pieces. Results [rows]; a NaN in a row
/// makes its sum NaN.
struct RowMaxima {
  torch::Tensor largest;  ///< float32
  torch::Tensor index;    ///< int64
  torch::Tensor sum;      ///< float64
};
RowMaxima row_maxima(const torch::Tensor& logits);

}  // namespace cupel
