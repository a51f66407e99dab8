#pragma once

#include <torch/types.h>

namespace cupel {

// Matrix products whose bytes depend on the operands alone. A BLAS may split one product among its
// threads in another way for each thread count, and the last bits go with the split; here the tiles
// are of a fixed size and each is one thread's. float32 or float64; on other devices than the CPU
// the product is the device's own.

/// out [rows, n] += alpha * a [rows, k] b [k, n]. `out` may be a slice of a larger matrix.
void tiled_addmm_(const torch::Tensor& out, const torch::Tensor& a, const torch::Tensor& b,
                  double alpha = 1.0);

/// a [rows, k] b [k, n]
torch::Tensor tiled_matmul(const torch::Tensor& a, const torch::Tensor& b);

/// The tiles on and above the diagonal of gram [n, n] += alpha * x^T x, for x [tokens, n]. What lies
/// below them is left as it is; mirror_upper_() fills it in. Where x is bfloat16 and gram float32 a
/// processor that can multiplies bfloat16 and adds in float32; else x is brought to the dtype of gram.
void tiled_gram_(const torch::Tensor& gram, const torch::Tensor& x, double alpha = 1.0);

/// Copies the upper triangle of a square matrix over the lower one.
void mirror_upper_(const torch::Tensor& matrix);

}  // namespace cupel
