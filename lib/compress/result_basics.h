#pragma once

#include <cstdint>

#include "cupel/compress/compressor.h"

namespace cupel {

/// Name, shape, sparsity (from how many weights are zero), tokens and dead columns: what a result says
/// whatever became of its codes.
void fill_basics(const LayerTask& task, int64_t zeros, LayerResult& result);

}  // namespace cupel
