#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cupel/compress/grid.h"

namespace cupel {

/// A run of columns as the sweep finds it: compensated for everything that was rounded or pruned
/// before the current block began.
struct SweepColumns {
  int64_t begin = 0, end = 0;  ///< in sweep order
  torch::Tensor weight;        ///< [out, end - begin] float32
  torch::Tensor factor;        ///< [end - begin, end - begin], the part of R on these columns
};

/// The grids of a sweep: fitted on the way, or all before it.
struct SweepGrid {
  int64_t bits = 0;   ///< 0 = no grid: what is kept stays as it is
  int64_t group = 0;  ///< columns a grid, in sweep order; 0 = one grid a row
  /// Called on the calling thread when the first column of a group is reached.
  std::function<GridValues(const SweepColumns&)> fit;
  /// The same as `fit` for some rows alone, where a row's grid follows from its own weights: `columns` has
  /// the rows from `row` on (and no factor), and for each of them one scale and one zero are written, `stride`
  /// apart. May be empty. Else used on the CPU where groups end with their blocks; called on any thread.
  std::function<void(const SweepColumns& columns, int64_t row, float* scales, float* zeros,
                     int64_t stride)>
      fit_rows;
  /// Instead of `fit`: grids known beforehand.
  torch::Tensor scales, zeros;  ///< float32 [out, groups]
  torch::Tensor group_index;    ///< int32 [in], in sweep order
};

/// Optimal brain surgeon, column by column: each column is pruned or rounded, and the columns after
/// it take up the error. (OBQ, Frantar & Alistarh, arXiv 2208.11580; as GPTQ, arXiv 2210.17323,
/// and SparseGPT, arXiv 2301.00774, order it.)
///
/// With H = R R^T, R upper triangular, U = R^-1: column i of the compensated weight w becomes q, its
/// error e = (w_i - q_i) / U_ii goes to the columns j > i as w_j -= e U_ij.
struct ColumnSweep {
  torch::Tensor weight;  ///< [out, in] float32, in sweep order
  torch::Tensor factor;  ///< R, [in, in] float32 or float64
  /// U = R^-1 on the diagonal tiles of 128 columns, where they are known already; may be empty.
  std::vector<torch::Tensor> inverses;
  int64_t block = 128;  ///< columns between two looks at masks and grids; any number
  /// [out, in] bool, false = always zero; may be undefined.
  torch::Tensor keep;
  /// The weights of a block to keep, [out, columns] bool, in addition to `keep`. Called on the
  /// calling thread when the block is reached; may be empty.
  std::function<torch::Tensor(const SweepColumns&)> select;
  /// Instead of `select` and n:m: how many of the weights in the columns [begin, end) go, the lowest by |weight| *
  /// importance; what `keep` has pruned counts and goes first. Of equal ones the later goes, row by row.
  /// Only on the CPU; may be empty. `name` is the layer, for messages.
  std::function<int64_t(int64_t begin, int64_t end)> count;
  std::string name = {};
  /// n kept of every m columns, chosen when the first of the m is reached by |weight| *
  /// importance; m = 0 for none. `lower_first`: of equal scores the lower column goes first.
  int64_t n = 0, m = 0;
  bool lower_first = false;
  torch::Tensor importance;  ///< [in] float32, larger = keep
  SweepGrid grid;
};

/// What a sweep leaves; in sweep order.
struct SweepResult {
  torch::Tensor weight;       ///< [out, in] float32; with a grid what the codes stand for
  torch::Tensor mask;         ///< [out, in] bool; undefined when nothing could be pruned
  torch::Tensor codes;        ///< [out, in] uint8, with a grid
  torch::Tensor scales;       ///< [out, groups] float32
  torch::Tensor zeros;        ///< [out, groups] float32
  torch::Tensor group_index;  ///< [in] int32
  double loss = 0;            ///< sum of e^2 / 2 = tr(dW H dW^T) / 2
};

/// Runs a sweep. The same bytes for any number of threads.
SweepResult column_sweep(const ColumnSweep& sweep);

}  // namespace cupel
