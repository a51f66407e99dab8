#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "compress/factor_tile.h"

namespace cupel {

/// A symmetric matrix as its upper triangle says: matrix * scale off the diagonal.
struct FactorInput {
  torch::Tensor matrix;  ///< [n, n]; nothing below the diagonal is read
  double scale = 1;
  torch::Tensor diagonal = {};      ///< [n], instead of the matrix's own; may be undefined
  torch::Dtype dtype = at::kFloat;  ///< of the factor: float32 or float64
};

struct UpperFactor {
  torch::Tensor upper;  ///< R with matrix = R R^T, upper triangular; undefined where there is none
  /// R^-1 on the diagonal tiles of kFactorTile columns; none on devices other than the CPU.
  std::vector<torch::Tensor> inverses;
};

/// `upper` is undefined when the matrix is not positive definite or not finite. On the CPU the same
/// bytes for any number of threads.
UpperFactor upper_factor(const FactorInput& input);
/// R alone, of the dtype of `matrix`.
torch::Tensor upper_factor(const torch::Tensor& matrix);

/// The inverse of an upper triangular matrix, in its dtype, solved for in float64.
torch::Tensor upper_inverse(const torch::Tensor& upper);

}  // namespace cupel
