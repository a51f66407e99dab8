#pragma once

#include <torch/types.h>

namespace cupel {

/// at::empty, in huge pages where the tensor is on the CPU, large, and the system gives them: for 64 MiB
/// it then clears 32 pages and not 16,384, and products look up fewer addresses.
torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options);

/// The same as at::zeros. A large one is memory that the system has just cleared, so nothing is written.
/// It cannot be resized: for the library's own use.
torch::Tensor large_zeros(at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace cupel
