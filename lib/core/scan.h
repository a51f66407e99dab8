#pragma once

#include <torch/types.h>

#include <cstdint>

namespace cupel {

/// The largest |x| of a float tensor, in one pass over its memory; infinity when it holds an
/// infinity or a NaN, 0 when it is empty.
double largest_magnitude(const torch::Tensor& tensor);

/// How many entries are zero, of either sign; of a bool tensor, how many are false.
int64_t count_zeros(const torch::Tensor& tensor);

/// Both of a float tensor, in one pass.
struct Magnitudes {
  double largest;
  int64_t zeros;
};
Magnitudes magnitudes(const torch::Tensor& tensor);

}  // namespace cupel
