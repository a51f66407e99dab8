#pragma once

#include "cupel/compress/compressor.h"

namespace cupel {

/// Name, shape, sparsity, tokens and dead columns: what a result says whatever became of its codes.
void fill_basics(const LayerTask& task, LayerResult& result);

}  // namespace cupel
