#pragma once

#include <string>

#include "cupel/compress/compressor.h"
#include "cupel/compress/grid.h"

namespace cupel {

struct GptqOptions {
  double damping = 0.01;       ///< added to the Hessian's diagonal, as a fraction of its mean
  int64_t block = 128;         ///< columns between two updates of those that follow
  std::string order = "none";  ///< "activation": columns by falling Hessian diagonal (act-order)
  /// Fit all grids on the uncompressed weights, groups in the order of the matrix, so that
  /// group_index stays j / group whatever the order.
  bool static_groups = false;
  Rules rules = Rules::exact;
  /// What to do without a Hessian to work with (no tokens, no factor): "error" or "rtn".
  std::string on_failure = "error";
};

/// GPTQ: rounds column by column to a grid, each column's error taken up by the columns after it.
/// (Frantar et al., arXiv 2210.17323.) Inputs that were zero in every token get zero weights.
class Gptq : public Compressor {
 public:
  /// std::invalid_argument for an option out of its range, with its name.
  explicit Gptq(Grid grid, GptqOptions options = {});

  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override;
  Needs needs() const override { return Needs::gram; }
  std::string name() const override;
  std::string options_json() const override;

 private:
  Grid grid_;
  GptqOptions options_;
};

}  // namespace cupel
