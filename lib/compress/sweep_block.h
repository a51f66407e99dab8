#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "compress/sweep_kernel.h"

namespace cupel {

/// One block of columns of a sweep: what goes in, and what comes out of it in place. Matrices may be
/// parts of larger ones as long as a row's entries lie side by side.
struct BlockTask {
  torch::Tensor weight;    ///< [out, columns] float32, compensated; may be used up
  torch::Tensor original;  ///< [out, columns] float32, before the sweep
  torch::Tensor inverse;   ///< U = R^-1 of the block, [columns, columns] float32
  torch::Tensor diagonal;  ///< R_ii, float32 [columns]
  torch::Tensor mask;      ///< [out, columns] bool, out: what was kept
  bool masked = false;     ///< whether anything may be pruned
  bool mask_given = true;  ///< in: mask says what may be kept; else all of it
  std::optional<int32_t>
      threshold;         ///< keep only |weight| * importance above it (the integer of its bits)
  int64_t n = 0, m = 0;  ///< n kept of every m columns; 0 = none
  bool lower_first = false;
  torch::Tensor importance;     ///< float32 [columns], with n:m or a threshold
  int64_t bits = 0;             ///< 0 = no grid
  torch::Tensor scales, zeros;  ///< float32 [out, groups]
  torch::Tensor group_index;    ///< int32 [columns]
  torch::Tensor change;         ///< out: float32 [out, columns], original - what became of it
  torch::Tensor codes;          ///< out: uint8 [out, columns], with a grid
  torch::Tensor loss;           ///< out: float64 [out], sum of e^2 is added
};

/// Rows [begin, end) on the calling thread; the same bytes however the rows are cut.
void sweep_rows_cpu(const BlockTask& task, int64_t begin, int64_t end,
                    const SweepKernel& kernel = sweep_kernel());
/// The same through tensor operations, all rows, on any device.
void sweep_block_tensor(const BlockTask& task);

}  // namespace cupel
