#pragma once

#include <ATen/Functions.h>
#include <torch/types.h>

namespace cupel {

/// Rotates pairs (i, i + d/2) of the last dimension: x cos + rotate_half(x) sin.
inline torch::Tensor rotate(const torch::Tensor& x, const torch::Tensor& cos,
                            const torch::Tensor& sin) {
  const auto halves = x.chunk(2, -1);
  return (x * cos).add_(at::cat({-halves[1], halves[0]}, -1) * sin);
}

}  // namespace cupel
