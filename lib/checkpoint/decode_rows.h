#pragma once

#include "cupel/checkpoint/packing.h"

namespace cupel {

/// Writes (code - zero) * scale to `weight` [out, in], float32, contiguous, on the CPU.
void decode_rows(const Quantized& quantized, const torch::Tensor& weight);

}  // namespace cupel
