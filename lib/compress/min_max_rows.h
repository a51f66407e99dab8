#pragma once

#include <cstdint>
#include <string>

#include "cupel/compress/grid.h"

namespace cupel {

/// Rows of weights on the CPU that each get one grid.
struct RowsToFit {
  const float* weight = nullptr;
  int64_t stride = 0;
  const bool* keep = nullptr;  ///< false = counts as zero; null = all are kept
  int64_t keep_stride = 0;
  int64_t rows = 0, columns = 0;
};

/// Where the grids of these rows go.
struct RowGrids {
  float* scales = nullptr;
  float* zeros = nullptr;
  int64_t stride = 1;  ///< between rows
};

/// The quantizer min_max on the calling thread, row by row, without a tensor: the same bytes as
/// fit_grid's, and what fit_grid refuses is refused. `first` is the number of the first row and `name`
/// the layer, for messages.
void fit_min_max(const RowsToFit& rows, const Grid& grid, Rules rules, const RowGrids& to,
                 int64_t first, const std::string& name);

/// What fit_grid throws where a scale is not positive and finite.
[[noreturn]] void refuse_scale(float scale, int64_t row, const Grid& grid, const std::string& name);

}  // namespace cupel
