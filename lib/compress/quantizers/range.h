#pragma once

#include <torch/types.h>

#include <functional>

#include "cupel/compress/grid.h"

namespace cupel {

/// The quantizer "min_max".
struct MinMax {
  GridValues operator()(const GridRequest& request) const;
};

/// The grid of 2^bits values that spans [low, high], one row each (float32 [out], low <= 0 <= high).
/// A flat row gets scale 1.
GridValues grid_of_range(const torch::Tensor& low, const torch::Tensor& high, const Grid& grid);

/// The range of each row's weights, stretched to hold zero; mirrored when the grid is symmetric.
std::pair<torch::Tensor, torch::Tensor> range_of_rows(const GridRequest& request);

/// Shrinks every row's range to 1 - i / 100 of itself for i = 0 ... candidates - 1, and keeps what
/// gives the least error; of equal errors the wider range. `error` maps the rounded weight's
/// difference [out, columns] to one number a row.
GridValues shrink_range(const GridRequest& request, int64_t candidates,
                        const std::function<torch::Tensor(const torch::Tensor& difference)>& error);

}  // namespace cupel
