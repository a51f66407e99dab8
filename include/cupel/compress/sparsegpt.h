#pragma once

#include <optional>
#include <string>

#include "cupel/compress/compressor.h"
#include "cupel/compress/grid.h"
#include "cupel/compress/pattern.h"

namespace cupel {

struct SparseGptOptions {
  double damping = 0.01;  ///< added to the Hessian's diagonal, as a fraction of its mean
  int64_t block = 128;    ///< columns whose weights are compared, and updated, together
  /// Round what is kept to a grid in the same sweep.
  std::optional<Grid> grid = {};
  /// What a weight is worth: "obs" (|w| / U_ii, the paper's), "wanda", "magnitude"; with
  /// selection "dense" any registered criterion.
  std::string saliency = "obs";
  /// When masks are chosen: "block", on the updated weights as the sweep reaches a block (n:m: a
  /// group of m); "dense", all at once on the weights as given.
  std::string selection = "block";
  Rules rules = Rules::exact;
  /// What to do without a Hessian to work with (no tokens, no factor): "error", or the criterion to
  /// prune by instead, such as "magnitude".
  std::string on_failure = "error";
};

/// SparseGPT: prunes column by column, each column's error taken up by the columns after it.
/// (Frantar & Alistarh, arXiv 2301.00774.) `unstructured` compares within a block of columns over
/// all rows, the counts cumulative so that the matrix loses exactly floor(s * n); `row_wise` within
/// the block's part of each row; `matrix_wise` over the matrix, which is a "dense" selection.
///
/// A mask in the task is kept: what it prunes is pruned here too, and its weight's error is taken up
/// like any other. With unstructured(0) that mask is all there is.
class SparseGpt : public Compressor {
 public:
  /// std::invalid_argument for an option out of its range, with its name.
  explicit SparseGpt(Pattern pattern, SparseGptOptions options = {});

  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override;
  Needs needs() const override;
  std::string name() const override;
  std::string options_json() const override;

 private:
  LayerResult fall_back(const LayerTask& task, const Pattern& pattern,
                        const std::string& obstacle) const;

  Pattern pattern_;
  SparseGptOptions options_;
};

}  // namespace cupel
