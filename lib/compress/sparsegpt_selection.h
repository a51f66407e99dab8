#pragma once

#include <string>

#include "compress/sweep_setup.h"
#include "cupel/compress/sparsegpt.h"

namespace cupel {

/// Tells `sweep` which weights to prune: a mask known beforehand, a function that chooses block by
/// block, or n:m. `pattern` carries an allocation's count. All arguments must outlive the sweep.
/// Returns what was compared with what, for the result's notes; "" for n:m.
std::string select_weights(const Pattern& pattern, const SparseGptOptions& options,
                           const LayerTask& task, const SweepSetup& setup, ColumnSweep& sweep);

}  // namespace cupel
