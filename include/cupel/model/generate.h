#pragma once

#include <cstdint>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/model/model.h"

namespace cupel {

struct GenerateOptions {
  int64_t max_new_tokens = 64;
  double temperature = 0;          ///< 0 = greedy (ties: the lowest id)
  int64_t top_k = 0;               ///< sample among the k likeliest; 0 = all
  double top_p = 1.0;              ///< sample within this probability mass
  uint64_t seed = 0;               ///< of this call's own random numbers
  std::vector<int64_t> stop = {};  ///< ids that end the text (not part of it)
  ProgressFunction progress = {};
};

/// Continues `prompt` (token ids, at least one) with cached keys and values. Returns the new ids
/// only. Throws std::invalid_argument when prompt + max_new_tokens exceeds the model's positions.
std::vector<int64_t> generate(const Model& model, const std::vector<int64_t>& prompt,
                              const GenerateOptions& options = {});

}  // namespace cupel
