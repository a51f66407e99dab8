// Min-max grids, the rule of the GPTQ code's quantizer: the range of the weights, stretched to hold
// zero, is cut into 2^bits - 1 steps. (Frantar et al., arXiv 2210.17323.) Symmetric: zero point
// 2^(bits-1), scale 2 max|w| / (2^bits - 1).
#include "compress/quantizers/range.h"

namespace cupel {

GridValues MinMax::operator()(const GridRequest& request) const {
  const auto [low, high] = range_of_rows(request);
  return grid_of_range(low, high, request.grid);
}

Quantizer min_max() { return MinMax{}; }

}  // namespace cupel
