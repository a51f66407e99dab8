#pragma once

// One seeded linear layer with inputs that depend on one another, as those of a trained model do.
#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/calibration/input_stats.h"
#include "support/tiny_model.h"

namespace cupel::test {

/// float32 [tokens, columns]: a few directions carry most of it.
inline torch::Tensor correlated_inputs(int64_t tokens, int64_t columns, uint64_t seed) {
  const int64_t directions = std::max<int64_t>(1, columns / 4);
  const auto mix = seeded_normal({directions, columns}, seed + 1);
  return seeded_normal({tokens, directions}, seed).matmul(mix) +
         0.3 * seeded_normal({tokens, columns}, seed + 2);
}

struct Layer {
  torch::Tensor weight, x;
  InputStats stats;

  Layer(int64_t rows, int64_t columns, uint64_t seed, int64_t tokens = 0)
      : weight(seeded_normal({rows, columns}, seed + 10)),
        x(correlated_inputs(tokens ? tokens : 2 * columns + 16, columns, seed)),
        stats(columns) {
    stats.add(x);
  }

  /// H + damping * mean(diag H) * I, float64 [columns, columns].
  torch::Tensor damped_hessian(double damping) const {
    const auto h = stats.hessian().to(at::kDouble);
    return h + at::eye(h.size(0), h.options()) * (damping * h.diagonal().mean().item<double>());
  }
};

/// tr(D H D^T) / 2 for a change D of the weights.
inline double quadratic(const torch::Tensor& change, const torch::Tensor& hessian) {
  const auto d = change.to(at::kDouble);
  return (d.matmul(hessian) * d).sum().item<double>() / 2;
}

}  // namespace cupel::test
