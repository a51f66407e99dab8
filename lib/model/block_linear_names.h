#pragma once

#include <string>
#include <vector>

#include "cupel/model/model.h"

namespace cupel {

/// Names of the linear layers of block `layer`, in model order; reads no weights.
std::vector<std::string> block_linear_names(const Architecture& architecture,
                                            const ModelConfig& config, int64_t layer);

}  // namespace cupel
