// Min-max grids, the rule of the GPTQ code's quantizer: the range of the weights, stretched to hold
// zero, is cut into 2^bits - 1 steps. (Frantar et al., arXiv 2210.17323.) Symmetric: zero point
// 2^(bits-1), scale 2 max|w| / (2^bits - 1).
#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/compress/grid.h"

namespace cupel {

namespace {

GridValues fit_min_max(const GridRequest& request) {
  const auto& w = request.weight;
  const double top = static_cast<double>((1 << request.grid.bits) - 1);
  auto low = w.amin(1).clamp_max(0.0), high = w.amax(1).clamp_min(0.0);
  if (request.grid.symmetric) {
    high = at::maximum(low.abs(), high);
    // The published code mirrors only rows that hold a negative weight.
    low = request.rules == Rules::published ? at::where(low < 0, -high, low) : -high;
  }
  const auto flat = at::logical_and(low == 0, high == 0);
  if (request.rules == Rules::published) {
    low = at::where(flat, -1.0, low);
    high = at::where(flat, 1.0, high);
  }
  auto scales = (high - low) / top;
  // The width of the range can overflow where the step does not.
  scales = at::where(at::isinf(scales), high / top - low / top, scales);
  // An all-zero row, or one so small that the step is zero, keeps a scale that can be divided by.
  scales = at::where(scales == 0, 1.0, scales);
  const auto zeros = request.grid.symmetric
                         ? at::full_like(scales, static_cast<double>(1 << (request.grid.bits - 1)))
                         : at::round(-low / scales);
  return {scales, zeros};
}

}  // namespace

Quantizer min_max() { return fit_min_max; }

}  // namespace cupel
