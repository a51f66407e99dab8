#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "compress/upper_factor.h"
#include "cupel/calibration/input_stats.h"
#include "cupel/compress/pattern.h"

namespace cupel {

/// H of a layer's inputs, before damping.
struct Hessian {
  torch::Tensor matrix;  ///< [in, in] float32, H / factor; only the upper triangle means anything
  double factor = 1;
  torch::Tensor diagonal;  ///< [in] float32, of H; 0 in a dead column (published: 1)
  torch::Tensor wide;      ///< the same from sums in float64; undefined where there are none
  double noise = 1e-13;    ///< share of its own diagonal below which a pivot of `wide` is rounding
  torch::Tensor dead;      ///< [in] bool, inputs that were zero in every token
  double mean = 0;         ///< of the diagonal, dead columns included
  double unit = 1;         ///< the true H is matrix * unit
};

/// "exact": 2 / tokens * X^T X. "published": 2 / sequences * X^T X, and 1 on a dead column's diagonal.
Hessian make_hessian(const InputStats& stats, Rules rules, const torch::Device& device);

/// The same with its columns in another order, [in] int64.
Hessian in_order(const Hessian& hessian, const torch::Tensor& order);

/// R of H + damping * mean * I, and what it took to get it.
struct HessianFactor {
  torch::Tensor upper;                  ///< R, float32, or float64 where float32 would not do
  std::vector<torch::Tensor> inverses;  ///< R^-1 on the diagonal tiles, see UpperFactor
  double damping = 0;                   ///< as used
  std::vector<std::string> rungs;       ///< every attempt, when the first one failed
};

/// A pivot that is lost in rounding counts as not positive. Tries float32, then float64, then damping from max(damping, 1e-4) to 1 in steps of ten, then a
/// floor under the diagonal. `upper` is undefined when all of that fails; rungs say what was tried.
HessianFactor factor_hessian(const Hessian& hessian, double damping);

}  // namespace cupel
