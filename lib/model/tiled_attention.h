#pragma once

#include <torch/types.h>

#include "model/attention_parts.h"

namespace cupel {

/// Whether tiled_attention() is to be had here, and worth it: float32 or bfloat16 on a CPU for which
/// oneDNN has small matrix kernels, at least 32 queries.
bool can_tile_attention(const torch::Tensor& q, const torch::Tensor& k);

/// attention_part() in tiles that stay in cache (FlashAttention, arXiv 2205.14135, algorithm 1), the
/// products by oneDNN's small kernels, sums and exponentials in float32: `out` is float32. Query heads
/// that share keys share tiles. The bytes do not depend on the number of threads.
AttentionPart tiled_attention(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, bool causal);

}  // namespace cupel
