#pragma once

#include <functional>
#include <memory>

#include "cupel/compress/compress_model.h"

namespace cupel {

/// The one loop over blocks. `next(layer)` gives a block, `done(layer, block, results)` takes it
/// back with the results of its layers; both run in order, on the calling thread.
CompressionResult compress_blocks(const Model& model, const Calibration& calibration,
                                  const Compressor& compressor, const CompressOptions& options,
                                  const std::function<std::shared_ptr<Block>(int64_t)>& next,
                                  const std::function<void(int64_t, const std::shared_ptr<Block>&,
                                                           std::vector<LayerResult>&)>& done);

}  // namespace cupel
