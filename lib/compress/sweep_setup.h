#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "compress/shared_factors.h"
#include "cupel/compress/column_sweep.h"
#include "cupel/compress/compressor.h"

namespace cupel {

/// What Gptq and SparseGpt share before and after their sweep.
class SweepSetup {
 public:
  /// `largest`: the largest |weight|. `by_activation`: columns by falling Hessian diagonal.
  SweepSetup(const LayerTask& task, double largest, double damping, Rules rules,
             bool by_activation = false);

  /// Why there is nothing to sweep with; "" when there is.
  const std::string& obstacle() const { return obstacle_; }
  /// True when another method has to do: it was `allowed` to, or all inputs are zero, which nothing
  /// can mend. NumericalError when there is an obstacle and it was not.
  bool must_fall_back(const char* function, bool allowed) const;

  /// float32 [out, in] / unit(), in the order of the matrix; unit() is 1 for ordinary weights.
  const torch::Tensor& weight() const { return weight_; }
  double unit() const { return unit_; }
  const torch::Tensor& dead() const { return made_.hessian.dead; }    ///< [in] bool
  const torch::Tensor& factor() const { return made_.factor.upper; }  ///< R, in sweep order
  /// U on the diagonal tiles of kFactorTile columns; may be empty.
  const std::vector<torch::Tensor>& inverses() const { return made_.factor.inverses; }
  const torch::Tensor& order() const { return made_.order; }  ///< [in]; undefined = as they are
  /// Columns of a tensor [out, in], or entries [in], put in sweep order.
  torch::Tensor in_order(const torch::Tensor& tensor) const;

  /// Grids for the sweep. `fixed`: all fitted now, on `weight` [out, in] (in units, in the order of
  /// the matrix). Else on the way; `keep` ([out, in] bool in sweep order, or undefined) says which
  /// weights count.
  SweepGrid grid(const Grid& grid, Rules rules, bool fixed, const torch::Tensor& weight,
                 const torch::Tensor& keep) const;

  /// Fills in weight, codes, grids, permutation and what the sweep knows of itself. `mask` is the
  /// one to report, in the order of the matrix; may be undefined.
  LayerResult finish(const LayerTask& task, const Grid* grid, const SweepResult& swept,
                     const torch::Tensor& mask) const;

 private:
  bool fits_rows_alone(const Grid& grid) const;

  const std::string name_;
  std::string obstacle_;
  bool all_dead_ = false;
  double unit_ = 1;
  torch::Tensor weight_;
  FactoredHessian made_;
};

}  // namespace cupel
