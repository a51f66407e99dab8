#pragma once

#include <torch/types.h>

namespace cupel {

// Products for evaluation: x [..., in] weight^T + bias (may be undefined), and what is made of it at
// once. float32 and, where the processor has it, bfloat16 on the CPU go through oneDNN if torch has
// it: in float32 measured 1.2 to 1.3 times as fast as torch's own choice, MKL, on an AMD processor;
// a row has the same bytes whatever the other rows and the threads are. Everything else is torch's
// own operators.

/// torch's own product, but for 16-bit numbers on a processor without units for them: there it
/// takes 8 to 12 times as long as the same product in float32, rounded once at the end, which this
/// makes instead.
torch::Tensor any_linear(const torch::Tensor& x, const torch::Tensor& weight,
                         const torch::Tensor& bias);

torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias);

/// silu(x weight^T + bias)
torch::Tensor fast_linear_silu(const torch::Tensor& x, const torch::Tensor& weight,
                               const torch::Tensor& bias);

/// (x weight^T + bias) * other, or + other, elementwise.
torch::Tensor fast_linear_times(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias, const torch::Tensor& other);
torch::Tensor fast_linear_plus(const torch::Tensor& x, const torch::Tensor& weight,
                               const torch::Tensor& bias, const torch::Tensor& other);

}  // namespace cupel
