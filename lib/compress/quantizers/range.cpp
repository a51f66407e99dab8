#include "compress/quantizers/range.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "cupel/core/progress.h"

namespace cupel {

std::pair<torch::Tensor, torch::Tensor> range_of_rows(const GridRequest& request) {
  const auto& w = request.weight;
  auto low = w.amin(1).clamp_max(0.0), high = w.amax(1).clamp_min(0.0);
  if (request.grid.symmetric) {
    high = at::maximum(low.abs(), high);
    // The published code mirrors only rows that hold a negative weight.
    low = request.rules == Rules::published ? at::where(low < 0, -high, low) : -high;
  }
  if (request.rules == Rules::published) {
    const auto flat = at::logical_and(low == 0, high == 0);
    low = at::where(flat, -1.0, low);
    high = at::where(flat, 1.0, high);
  }
  return {low, high};
}

GridValues grid_of_range(const torch::Tensor& low, const torch::Tensor& high, const Grid& grid) {
  const double top = static_cast<double>((1 << grid.bits) - 1);
  auto scales = (high - low) / top;
  // The width of the range can overflow where the step does not.
  scales = at::where(at::isinf(scales), high / top - low / top, scales);
  // An all-zero row, or one so small that the step is zero, keeps a scale that can be divided by.
  scales = at::where(scales == 0, 1.0, scales);
  const auto zeros = grid.symmetric
                         ? at::full_like(scales, static_cast<double>(1 << (grid.bits - 1)))
                         : at::round(-low / scales);
  return {scales, zeros};
}

GridValues shrink_range(const GridRequest& request, int64_t candidates,
                        const std::function<torch::Tensor(const torch::Tensor&)>& error) {
  const auto [low, high] = range_of_rows(request);
  // In units of the largest weight: powers of an error leave float32 long before the error does.
  const double largest = request.weight.abs().max().item<double>();
  const double unit = largest > 0 ? std::ldexp(1.0, std::ilogb(largest)) : 1.0;
  GridValues best = grid_of_range(low, high, request.grid);
  auto least = at::full_like(low, std::numeric_limits<double>::infinity());
  for (int64_t i = 0; i < candidates; ++i) {
    still_working();
    const double share = 1.0 - static_cast<double>(i) / 100;
    GridValues values = grid_of_range(low * share, high * share, request.grid);
    const auto codes = grid_codes(request.weight, values, request.grid.bits);
    const auto rounded = (codes - values.zeros.unsqueeze(1)) * values.scales.unsqueeze(1);
    const auto found = error((rounded - request.weight) / unit);
    const auto better = found < least;
    least = at::where(better, found, least);
    best.scales = at::where(better, values.scales, best.scales);
    best.zeros = at::where(better, values.zeros, best.zeros);
  }
  return best;
}

}  // namespace cupel
