#include "cupel/compress/grid.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "compress/min_max_rows.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

namespace {

torch::Dtype scale_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "float16") return at::kHalf;
  if (name == "bfloat16") return at::kBFloat16;
  throw std::invalid_argument("[Grid] scale_dtype is float32, float16 or bfloat16. Got '" + name +
                              "'.");
}

[[noreturn]] void refuse(const std::string& rule, float value, int64_t row, const Grid& grid,
                         const std::string& name) {
  throw NumericalError(c10::str("[Grid] ", rule, ". Got ", value, " from quantizer '", grid.clip,
                                "' in row ", row, name.empty() ? "" : " of ", name,
                                "; try scale_dtype=\"float32\" or another clip."));
}

std::string scale_rule(const Grid& grid) {
  return "scales must be positive and finite in " + grid.scale_dtype;
}

// Throws unless `good` [out] holds for what a quantizer returned in every row.
void check_rows(const torch::Tensor& good, const torch::Tensor& values, const std::string& rule,
                const Grid& grid, const std::string& name) {
  if (good.all().item<bool>()) return;
  const int64_t row = good.logical_not().nonzero()[0][0].item<int64_t>();
  refuse(rule, values[row].item<float>(), row, grid, name);
}

}  // namespace

void refuse_scale(float scale, int64_t row, const Grid& grid, const std::string& name) {
  refuse(scale_rule(grid), scale, row, grid, name);
}

Registry<Quantizer>& quantizers() {
  // Never destroyed: an entry may hold a Python callable, and the interpreter ends first.
  static auto* registry = [] {
    auto* known = new Registry<Quantizer>("quantizer");
#define CUPEL_QUANTIZER(function) known->add(#function, function());
#include "cupel/compress/quantizers.def"
#undef CUPEL_QUANTIZER
    return known;
  }();
  return *registry;
}

void check_grid(const Grid& grid) {
  check(grid.bits >= 1 && grid.bits <= 8, "Grid", "bits lie in [1, 8]. Got ", grid.bits, ".");
  check(grid.group >= 0, "Grid", "group is a number of columns, or 0 for whole rows. Got ",
        grid.group, ".");
  scale_dtype(grid.scale_dtype);
  quantizers().get(grid.clip);
}

GridValues fit_grid(const GridRequest& request, const std::string& name) {
  GridValues values = quantizers().get(request.grid.clip)(request);
  const int64_t rows = request.weight.size(0);
  check(values.scales.defined() && values.zeros.defined() && values.scales.sizes() == rows &&
            values.zeros.sizes() == rows,
        "Grid", "quantizer '", request.grid.clip, "' must return one scale and one zero a row for ",
        request.weight.sizes(), name.empty() ? "" : " in ", name, ".");
  const auto dtype = scale_dtype(request.grid.scale_dtype);
  const auto exact = values.scales.to(at::kFloat);
  auto stored = exact.to(dtype);
  if (dtype != at::kFloat) {
    // A step below the smallest number of a 16-bit dtype must not become a division by zero.
    const double smallest = dtype == at::kHalf ? 0x1p-24 : 0x1p-133;
    stored =
        at::where(at::logical_and(stored == 0, exact > 0), at::full_like(stored, smallest), stored);
  }
  values.scales = stored.to(at::kFloat);
  check_rows(at::logical_and(values.scales > 0, at::isfinite(values.scales)), exact,
             scale_rule(request.grid), request.grid, name);
  const auto zeros = values.zeros.to(at::kFloat);
  check_rows(zeros == at::round(zeros), zeros, "zeros are whole numbers", request.grid, name);
  // Beyond its ends a grid has no code for zero: the nearest end is what is left.
  values.zeros = zeros.clamp(0.0, static_cast<double>((1 << request.grid.bits) - 1));
  return values;
}

torch::Tensor grid_codes(const torch::Tensor& weight, const GridValues& values, int64_t bits) {
  const auto steps = at::round(weight / values.scales.unsqueeze(1)) + values.zeros.unsqueeze(1);
  return steps.clamp(0.0, static_cast<double>((1 << bits) - 1));
}

Quantized quantize(const torch::Tensor& weight, const Grid& grid, Rules rules,
                   const std::string& name) {
  check_grid(grid);
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const int64_t width = grid.group == 0 ? std::max<int64_t>(columns, 1) : grid.group;
  const int64_t groups = (columns + width - 1) / width;
  Quantized out;
  out.bits = grid.bits;
  out.codes = at::empty({rows, columns}, weight.options().dtype(at::kByte));
  out.scales = at::empty({rows, groups}, weight.options().dtype(at::kFloat));
  out.zeros = at::empty({rows, groups}, weight.options().dtype(at::kInt));
  out.group_index =
      at::floor_divide(at::arange(columns, weight.options().dtype(at::kLong)), width).to(at::kInt);
  if (rows == 0) return out;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t begin = group * width, end = std::min(columns, begin + width);
    const auto part = weight.slice(1, begin, end);
    const GridValues values = fit_grid({part, grid, rules}, name);
    out.codes.slice(1, begin, end).copy_(grid_codes(part, values, grid.bits));
    out.scales.select(1, group).copy_(values.scales);
    out.zeros.select(1, group).copy_(values.zeros);
  }
  return out;
}

}  // namespace cupel
