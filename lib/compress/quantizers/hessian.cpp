// The range that costs the least output error: with R the factor of the group's inputs, given that
// later columns make up for what they can, |dW R|^2 is what an error dW costs. 76 ranges from min-max
// to a quarter of it. (The clip search of Frantar et al.'s Marlin, arXiv 2408.11743.)
#include "compress/quantizers/range.h"
#include "cupel/core/check.h"
#include "cupel/core/tiled.h"

namespace cupel {

Quantizer hessian() {
  return [](const GridRequest& request) {
    check(request.factor.defined(), "hessian",
          "clip=\"hessian\" weighs errors by the inputs' Hessian, which only Gptq and SparseGpt "
          "know; choose min_max or mse elsewhere.");
    // In units of its largest entry: the square of a factor can leave float32 where it does not.
    const auto factor = (request.factor / request.factor.abs().max()).to(at::kFloat);
    return shrink_range(request, 76, [&](const torch::Tensor& difference) {
      return tiled_matmul(difference, factor).square_().sum(1);
    });
  };
}

}  // namespace cupel
