#pragma once

#include <torch/types.h>

#include <cstdint>

namespace cupel {

/// The width of the diagonal tiles that a factorization treats one by one.
constexpr int64_t kFactorTile = 128;

/// R with tile = R R^T, upper triangular, in place of a symmetric tile [n, n] of which the upper
/// triangle is read; n is at most kFactorTile, the dtype float32 or float64. False, with the tile as it
/// was, when it is not positive definite or not finite.
bool factor_tile(const torch::Tensor& tile);

/// The inverse of an upper triangular tile of at most kFactorTile columns, in its dtype, solved for in
/// float64.
torch::Tensor invert_tile(const torch::Tensor& upper);

}  // namespace cupel
