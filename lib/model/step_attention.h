#pragma once

#include <torch/types.h>

#include <cstdint>

#include "cupel/model/packed.h"

namespace cupel {

/// Whether one query can attend by attend_newest(): on the CPU, float32 or bfloat16.
bool can_attend_newest(const torch::Tensor& q);

/// Attention of the newest token of one sequence over its own keys and values, its own included. Tensor
/// operations cost far more than this little arithmetic. The bytes depend on the sequence alone.
///
/// q and out [heads, d], contiguous; the first `tokens` of keys and values [heads that hold keys,
/// capacity, d] are attended to.
void attend_newest(const torch::Tensor& q, const KeyValues& own, int64_t tokens,
                   const torch::Tensor& out);

}  // namespace cupel
