// The range that rounds a row with the least sum of |error|^2.4, among 80 that shrink from min-max to
// a fifth of it: the search of the GPTQ code's quantizer (norm 2.4, grid 100, maxshrink 0.8).
// (Frantar et al., arXiv 2210.17323.)
#include "compress/quantizers/range.h"

namespace cupel {

Quantizer mse() {
  return [](const GridRequest& request) {
    return shrink_range(request, 80, [](const torch::Tensor& difference) {
      return difference.abs_().pow_(2.4).sum(1);
    });
  };
}

}  // namespace cupel
