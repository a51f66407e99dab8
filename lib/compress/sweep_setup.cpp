#include "compress/sweep_setup.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "compress/grid_result.h"
#include "compress/min_max_rows.h"
#include "compress/quantizers/range.h"
#include "cupel/core/error.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

// Weights far from 1 are swept in units of a power of two, so that neither their squares nor their
// products with the factor leave float32.
double weight_unit(double largest) {
  if (largest == 0 || (largest >= 0x1p-20 && largest <= 0x1p20)) return 1.0;
  return std::ldexp(1.0, std::ilogb(largest));
}

// x * 2^k in two steps: the power alone may leave float32 where the product does not.
torch::Tensor scaled(const torch::Tensor& x, double power) {
  const int exponent = std::ilogb(power), half = exponent / 2;
  if (exponent == 0) return x;
  return x * std::ldexp(1.0, half) * std::ldexp(1.0, exponent - half);
}

RowsToFit rows_of(const torch::Tensor& weight) {
  return {.weight = weight.const_data_ptr<float>(),
          .stride = weight.stride(0),
          .rows = weight.size(0),
          .columns = weight.size(1)};
}

}  // namespace

SweepSetup::SweepSetup(const LayerTask& task, double largest, double damping, Rules rules,
                       bool by_activation)
    : name_(task.name) {
  const auto weight = task.weight.detach().to(at::kFloat);
  unit_ = weight_unit(largest);
  weight_ = scaled(weight, 1.0 / unit_).contiguous();
  if (task.stats.tokens() == 0) {
    obstacle_ = "0 tokens reached it";
    return;
  }
  const auto make = [&] {
    FactoredHessian made{make_hessian(task.stats, rules, weight.device()), {}, {}};
    if (made.hessian.dead.all().item<bool>()) return made;
    if (by_activation) {
      made.order = at::argsort(made.hessian.diagonal, /*stable=*/true, 0, /*descending=*/true);
    }
    made.factor = factor_hessian(
        by_activation ? cupel::in_order(made.hessian, made.order) : made.hessian, damping);
    return made;
  };
  made_ = task.shared
              ? task.shared->get(task.stats, damping, rules, by_activation, weight.device(), make)
              : make();
  all_dead_ = made_.hessian.dead.all().item<bool>();
  if (all_dead_) {
    obstacle_ = "every input was zero in calibration";
  } else if (!made_.factor.upper.defined()) {
    const auto& rungs = made_.factor.rungs;
    obstacle_ = "its Hessian is not positive definite (" +
                (rungs.empty() ? std::string() : rungs.back()) + ")";
  }
}

bool SweepSetup::must_fall_back(const char* function, bool allowed) const {
  if (obstacle_.empty()) return false;
  if (allowed || all_dead_) return true;
  throw NumericalError(c10::str("[", function, "] a Hessian must be positive definite. In ", name_,
                                ": ", obstacle_,
                                ". Try more calibration text or more damping, or name what to do "
                                "instead in on_failure."));
}

torch::Tensor SweepSetup::in_order(const torch::Tensor& tensor) const {
  if (!made_.order.defined() || !tensor.defined()) return tensor;
  return tensor.index_select(tensor.dim() - 1, made_.order);
}

// Whether a row's grid follows from its own weights by the rule of min_max, which needs no tensors.
bool SweepSetup::fits_rows_alone(const Grid& grid) const {
  return weight_.is_cpu() && unit_ == 1.0 && quantizers().get(grid.clip).target<MinMax>();
}

SweepGrid SweepSetup::grid(const Grid& grid, Rules rules, bool fixed, const torch::Tensor& weight,
                           const torch::Tensor& keep) const {
  const int64_t columns = weight_.size(1);
  const int64_t width = grid.group == 0 ? columns : grid.group;
  // Grids are fitted on the weights as they are, where the range of scale_dtype means something.
  const auto fit = [=, this](const torch::Tensor& part, const torch::Tensor& factor) {
    const auto narrow = factor.to(at::kFloat);
    GridValues values = fit_grid({scaled(part, unit_), grid, rules, narrow}, name_);
    return GridValues{scaled(values.scales, 1.0 / unit_), values.zeros};
  };
  SweepGrid made;
  made.bits = grid.bits;
  made.group = grid.group;
  if (!fixed) {
    made.fit = [=](const SweepColumns& at) {
      const auto part = keep.defined() ? at::where(keep.slice(1, at.begin, at.end), at.weight,
                                                   at::zeros_like(at.weight))
                                       : at.weight;
      return fit(part, at.factor);
    };
    if (!fits_rows_alone(grid)) return made;
    const auto kept = keep.defined() ? keep.contiguous() : keep;
    made.fit_rows = [=, name = name_](const SweepColumns& at, int64_t row, float* scales,
                                      float* zeros, int64_t stride) {
      RowsToFit rows = rows_of(at.weight);
      if (kept.defined()) {
        rows.keep = kept.const_data_ptr<bool>() + row * columns + at.begin;
        rows.keep_stride = columns;
      }
      fit_min_max(rows, grid, rules, {scales, zeros, stride}, row, name);
    };
    return made;
  }
  const int64_t groups = (columns + width - 1) / width;
  made.group_index =
      at::floor_divide(in_order(at::arange(columns, weight.options().dtype(at::kLong))), width);
  if (fits_rows_alone(grid)) {
    const int64_t rows = weight.size(0);
    const auto whole = weight.contiguous();
    made.scales = at::empty({rows, groups}, weight.options());
    made.zeros = at::empty({rows, groups}, weight.options());
    float* scales = made.scales.mutable_data_ptr<float>();
    float* zeros = made.zeros.mutable_data_ptr<float>();
    parallel_for(rows, 16, [&](int64_t row, int64_t last) {
      for (int64_t g = 0; g < groups; ++g) {
        RowsToFit part = rows_of(whole);
        part.weight += row * columns + g * width;
        part.rows = last - row;
        part.columns = std::min(columns - g * width, width);
        const int64_t first = row * groups + g;
        fit_min_max(part, grid, rules, {scales + first, zeros + first, groups}, row, name_);
      }
    });
    return made;
  }
  std::vector<torch::Tensor> scales, zeros;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * width, end = std::min(columns, begin + width);
    torch::Tensor part = weight.slice(1, begin, end), factor;
    if (groups == 1) {  // a whole row is the same group in any order
      part = in_order(weight);
      factor = made_.factor.upper;
    } else {
      const bool wide = made_.hessian.wide.defined();
      const auto& whole = wide ? made_.hessian.wide : made_.hessian.matrix;
      const auto diagonal = wide ? made_.hessian.wide.diagonal() : made_.hessian.diagonal;
      const double added = std::max(made_.factor.damping, 1e-9) * made_.hessian.mean;
      factor = upper_factor({.matrix = whole.slice(0, begin, end).slice(1, begin, end),
                             .scale = wide ? 1.0 : made_.hessian.factor,
                             .diagonal = diagonal.slice(0, begin, end).to(at::kDouble) + added,
                             .dtype = at::kDouble})
                   .upper;
    }
    const GridValues values = fit(part, factor);
    scales.push_back(values.scales);
    zeros.push_back(values.zeros);
  }
  made.scales = at::stack(scales, 1);
  made.zeros = at::stack(zeros, 1);
  return made;
}

LayerResult SweepSetup::finish(const LayerTask& task, const Grid* grid, const SweepResult& swept,
                               const torch::Tensor& mask) const {
  LayerResult result;
  const auto places = made_.order.defined() ? at::argsort(made_.order) : made_.order;
  const auto back = [&](const torch::Tensor& tensor) {
    return places.defined() ? tensor.index_select(tensor.dim() - 1, places) : tensor;
  };
  result.mask = mask;
  if (grid) {
    // In other units a product may round otherwise, so the codes are decoded anew.
    set_quantized(task,
                  {back(swept.codes), scaled(swept.scales, unit_).contiguous(),
                   swept.zeros.to(at::kInt), back(swept.group_index), grid->bits},
                  unit_ == 1 ? back(swept.weight) : torch::Tensor(), result);
  } else {
    result.weight = scaled(back(swept.weight), unit_).to(task.weight.scalar_type());
  }
  result.permutation = made_.order;
  result.sweep_loss = swept.loss * unit_ * unit_ * made_.hessian.unit;
  result.damping = made_.factor.damping;
  result.rungs = made_.factor.rungs;
  finish_result(task, result);
  if (grid) count_packed(*grid, result);
  if (result.tokens < result.columns) {
    result.notes.push_back(c10::str(result.tokens, " tokens for ", result.columns,
                                    " inputs: the Hessian leans on its damping"));
  }
  return result;
}

}  // namespace cupel
