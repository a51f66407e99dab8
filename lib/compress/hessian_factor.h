#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "cupel/calibration/input_stats.h"
#include "cupel/compress/pattern.h"

namespace cupel {

/// R with matrix = R R^T, R [n, n] upper triangular, of the dtype of `matrix` (float32 or float64);
/// undefined when the matrix is not positive definite or not finite. Reads the upper triangle only.
/// On the CPU the same bytes for any number of threads.
torch::Tensor upper_factor(const torch::Tensor& matrix);

/// The inverse of an upper triangular matrix, in its dtype, solved for in float64.
torch::Tensor upper_inverse(const torch::Tensor& upper);

/// H of a layer's inputs, before damping.
struct Hessian {
  torch::Tensor matrix;  ///< [in, in] float32; the diagonal of a dead column is 0 (published: 1)
  torch::Tensor wide;    ///< the same from sums in float64; undefined where there are none
  double noise = 1e-13;  ///< share of its own diagonal below which a pivot of `wide` is rounding
  torch::Tensor dead;    ///< [in] bool, inputs that were zero in every token
  double mean = 0;       ///< of the diagonal, dead columns included
  double unit = 1;       ///< the true H is matrix * unit
};

/// "exact": 2 / tokens * X^T X. "published": 2 / sequences * X^T X, and 1 on a dead column's diagonal.
Hessian make_hessian(const InputStats& stats, Rules rules, const torch::Device& device);

/// R of H + damping * mean * I, and what it took to get it.
struct HessianFactor {
  torch::Tensor upper;             ///< R, float32, or float64 where float32 would not do
  double damping = 0;              ///< as used
  std::vector<std::string> rungs;  ///< every attempt, when the first one failed
};

/// A pivot that is lost in rounding counts as not positive. Tries float32, then float64, then damping from max(damping, 1e-4) to 1 in steps of ten, then a
/// floor under the diagonal. `upper` is undefined when all of that fails; rungs say what was tried.
HessianFactor factor_hessian(const Hessian& hessian, double damping);

}  // namespace cupel
