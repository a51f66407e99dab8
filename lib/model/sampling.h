#pragma once

#include <torch/types.h>

#include <cstdint>

#include "cupel/core/random.h"

namespace cupel {

/// One id from softmax(logits / temperature) [vocabulary], restricted to the top_k likeliest (0 =
/// all) and to a probability mass of top_p. The candidates are sorted by probability, then id, so
/// that a seed means the same text everywhere. `temperature` > 0.
int64_t sample_token(const torch::Tensor& logits, double temperature, int64_t top_k, double top_p,
                     PythonRandom& random);

/// std::invalid_argument unless temperature, top_k >= 0 and top_p lies in (0, 1].
void check_sampling(const char* function, double temperature, int64_t top_k, double top_p);

}  // namespace cupel
