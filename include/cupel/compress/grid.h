#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "cupel/checkpoint/packing.h"
#include "cupel/compress/pattern.h"
#include "cupel/core/registry.h"

namespace cupel {

/// A uniform grid for weights: how many values, over which columns, chosen how.
struct Grid {
  int64_t bits = 4;              ///< 1 to 8
  int64_t group = 0;             ///< columns that share a scale; 0 = a whole row. The last
                                 ///< group may be short.
  bool symmetric = false;        ///< zero point fixed at 2^(bits-1)
  std::string clip = "min_max";  ///< the quantizer that chooses scales: "min_max", "mse",
                                 ///< "hessian" (in Gptq and SparseGpt only), or your own
  std::string scale_dtype =
      "float32";  ///< scales are rounded to it: "float32", "float16", "bfloat16"
};

/// What a quantizer works on: the columns that share one grid per row.
struct GridRequest {
  torch::Tensor weight;  ///< float32 [out, columns]
  const Grid& grid;
  Rules rules = Rules::exact;
  /// R upper triangular, float32 [columns, columns]: an error dW of these columns costs |dW R|^2. Undefined
  /// where nothing is known of the inputs; Gptq and SparseGpt give it.
  torch::Tensor factor = {};
};

/// One grid a row: value = (code - zero) * scale.
struct GridValues {
  torch::Tensor scales;  ///< float32 [out], positive
  torch::Tensor zeros;   ///< float32 [out], integers in [0, 2^bits)
};

using Quantizer = std::function<GridValues(const GridRequest&)>;

/// All quantizers by the name that Grid.clip uses; add yours here.
Registry<Quantizer>& quantizers();

#define CUPEL_QUANTIZER(function) Quantizer function();
#include "cupel/compress/quantizers.def"
#undef CUPEL_QUANTIZER

/// Throws std::invalid_argument naming the field that is out of range.
void check_grid(const Grid& grid);

/// The grid of one group, by Grid.clip, with scales rounded to Grid.scale_dtype and checked:
/// positive, finite, zeros in range. `name` is the layer, for messages.
GridValues fit_grid(const GridRequest& request, const std::string& name = "");

/// Nearest codes (half to even): clamp(round(weight / scale) + zero, 0, 2^bits - 1), as float32.
torch::Tensor grid_codes(const torch::Tensor& weight, const GridValues& values, int64_t bits);

/// Fits every group of `weight` float32 [out, in] and rounds it to nearest.
Quantized quantize(const torch::Tensor& weight, const Grid& grid, Rules rules = Rules::exact,
                   const std::string& name = "");

}  // namespace cupel
