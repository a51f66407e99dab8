#include "compress/min_max_rows.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/clones.h"

namespace cupel {

namespace {

constexpr int64_t kLanes = 16;

struct Range {
  float low, high;
};

// The range of a row, stretched to hold zero; NaN where an entry is.
CUPEL_CLONES
Range range_of(const float* x, const bool* keep, int64_t size) {
  float low[kLanes] = {}, high[kLanes] = {};
  int32_t bad[kLanes] = {};
  const auto take = [&](float value, int64_t lane) __attribute__((always_inline)) {
    low[lane] = value < low[lane] ? value : low[lane];
    high[lane] = value > high[lane] ? value : high[lane];
    bad[lane] |= value != value;
  };
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      take(keep ? kept_or_zero(x[i + lane], keep[i + lane]) : x[i + lane], lane);
    }
  }
  for (; i < size; ++i) take(keep ? kept_or_zero(x[i], keep[i]) : x[i], i % kLanes);
  int32_t any_bad = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    low[0] = std::min(low[0], low[lane]);
    high[0] = std::max(high[0], high[lane]);
    any_bad |= bad[lane];
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  return any_bad ? Range{nan, nan} : Range{low[0], high[0]};
}

enum class Stored { float32, float16, bfloat16 };

Stored stored_as(const std::string& dtype) {
  if (dtype == "float16") return Stored::float16;
  return dtype == "bfloat16" ? Stored::bfloat16 : Stored::float32;
}

// The step, as fit_grid stores it: never zero where it was not.
float stored(float step, Stored dtype) {
  if (dtype == Stored::float32) return step;
  const bool half = dtype == Stored::float16;
  const float rounded =
      half ? static_cast<float>(c10::Half(step)) : static_cast<float>(c10::BFloat16(step));
  if (rounded == 0 && step > 0) return half ? 0x1p-24f : 0x1p-133f;
  return rounded;
}

}  // namespace

void fit_min_max(const RowsToFit& rows, const Grid& grid, Rules rules, const RowGrids& to,
                 int64_t first, const std::string& name) {
  const bool published = rules == Rules::published;
  const float top = static_cast<float>((1 << grid.bits) - 1);
  const Stored dtype = stored_as(grid.scale_dtype);
  for (int64_t row = 0; row < rows.rows; ++row) {
    auto [low, high] =
        range_of(rows.weight + row * rows.stride,
                 rows.keep ? rows.keep + row * rows.keep_stride : nullptr, rows.columns);
    if (grid.symmetric) {
      high = std::max(-low, high);
      if (!published || low < 0)
        low = -high;  // the published code mirrors only where one is negative
    }
    if (published && low == 0 && high == 0) {
      low = -1;
      high = 1;
    }
    float step = (high - low) / top;
    if (std::isinf(step)) step = high / top - low / top;  // the width overflows before the step
    if (step == 0) step = 1;
    const float zero =
        grid.symmetric ? static_cast<float>(1 << (grid.bits - 1)) : std::nearbyint(-low / step);
    const float scale = stored(step, dtype);
    if (!(scale > 0 && std::isfinite(scale))) refuse_scale(step, first + row, grid, name);
    to.scales[row * to.stride] = scale;
    to.zeros[row * to.stride] = std::min(std::max(zero, 0.0f), top);
  }
}

}  // namespace cupel
