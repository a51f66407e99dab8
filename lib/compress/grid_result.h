#pragma once

#include "cupel/compress/compressor.h"
#include "cupel/compress/grid.h"

namespace cupel {

/// Puts a quantized weight into a result: codes, grids and the weight that they stand for, in the
/// dtype of the task's weight. `decoded` is that weight in float32 where it is known, or undefined.
void set_quantized(const LayerTask& task, const Quantized& quantized, const torch::Tensor& decoded,
                   LayerResult& result);

/// packed_bytes of a result on `grid`: scales in the dtype they are stored in, zero points only
/// where the grid has them. After finish_result().
void count_packed(const Grid& grid, LayerResult& result);

/// The grid for where nothing is known of the inputs: "hessian" clips become "min_max".
Grid without_inputs(const Grid& grid);

/// The fields of a grid, for options_json().
std::string grid_json(const Grid& grid);

}  // namespace cupel
