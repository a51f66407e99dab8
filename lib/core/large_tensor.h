#pragma once

#include <torch/types.h>

namespace cupel {

/// at::empty. A large tensor on the CPU lies in huge pages where the system has them, in memory that an
/// earlier one has let go where its size fits: new memory has to be cleared by the kernel, which for a
/// layer's solve can take a tenth of its time. Up to 160 MiB are kept for that while nobody uses them; what does
/// not fit the next tensor is given back first, so that the largest memory of a run does not grow.
torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options);

/// large_empty({rows, columns}), with some bytes between the rows where these are a multiple of 1 KiB long:
/// they would all begin in the same few sets of the first-level cache, where a BLAS on narrow parts of the
/// matrix loses up to a third of its rate.
torch::Tensor large_matrix(int64_t rows, int64_t columns, const at::TensorOptions& options);

/// A matrix, or a copy of it in a large_matrix() where its own rows lie in each other's way.
torch::Tensor with_rows_apart(const torch::Tensor& matrix);

/// The same as at::zeros.
torch::Tensor large_zeros(at::IntArrayRef sizes, const at::TensorOptions& options);

/// Gives back all memory that is kept.
void release_large_memory();

}  // namespace cupel
