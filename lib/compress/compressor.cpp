#include "cupel/compress/compressor.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/result_basics.h"
#include "compress/shared_factors.h"
#include "core/scan.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/parallel.h"

namespace cupel {

std::shared_ptr<SharedFactors> make_shared_factors() { return std::make_shared<SharedFactors>(); }

LayerResult Compressor::compress(const torch::Tensor& weight, const InputStats& stats,
                                 const LayerOptions& options) const {
  const LayerTask task{options.name,
                       weight,
                       stats,
                       options.mask,
                       nullptr,
                       options.prune_count,
                       options.measure_loss,
                       options.shared.get()};
  return options.nan_policy == NanPolicy::keep ? compress_finite_rows(*this, task) : compress(task);
}

LayerResult Compressor::compress(const torch::Tensor& weight, const LayerOptions& options) const {
  check(weight.defined() && weight.dim() == 2 && weight.size(1) >= 1, "Compressor",
        "a weight is [out, in]. Got ", weight.defined() ? weight.sizes() : at::IntArrayRef(),
        " in ", options.name, ".");
  return compress(weight, InputStats(weight.size(1), Needs::none), options);
}

double check_task(const char* function, const LayerTask& task, Needs needs) {
  const auto& weight = task.weight;
  check(weight.defined() && weight.dim() == 2 && weight.numel() > 0, function,
        "a weight is [out, in]. Got ", weight.defined() ? weight.sizes() : at::IntArrayRef(),
        " in ", task.name, ".");
  check(at::isFloatingType(weight.scalar_type()), function, "a weight holds floats. Got ",
        weight.scalar_type(), " in ", task.name, ".");
  check(task.stats.columns() == weight.size(1), function,
        "statistics have one column for each input. Got ", task.stats.columns(), " for weight ",
        weight.sizes(), " in ", task.name, ".");
  check(!task.mask.defined() || task.mask.sizes() == weight.sizes(), function,
        "a mask has the shape of its weight. Got ",
        task.mask.defined() ? task.mask.sizes() : at::IntArrayRef(), " for ", weight.sizes(),
        " in ", task.name, ".");
  check(!task.mask.defined() || task.mask.scalar_type() == at::kBool, function,
        "a mask is bool, true = keep. Got ",
        task.mask.defined() ? task.mask.scalar_type() : at::kBool, " in ", task.name, ".");
  if (needs != Needs::none) {
    check(includes(task.stats.needs(), needs), function,
          "the statistics lack what the method needs; collect them with its needs(). Layer ",
          task.name, ".");
    if (task.stats.tokens() == 0) {
      throw NumericalError(c10::str("[", function, "] 0 tokens reached ", task.name,
                                    "; give calibration text, or a method that needs none."));
    }
  }
  const double largest = largest_magnitude(weight);
  if (!std::isfinite(largest)) {
    const auto bad = at::isfinite(weight).logical_not().nonzero();
    throw NumericalError(c10::str("[", function, "] weights must be finite. Got ", bad.size(0),
                                  " that are not in ", task.name, ", the first at row ",
                                  bad[0][0].item<int64_t>(), ", column ", bad[0][1].item<int64_t>(),
                                  "; the checkpoint is damaged."));
  }
  return largest;
}

namespace {

constexpr int64_t kRows = 256;
constexpr int64_t kPanel = 512;

// The sum over tokens of ||D x||^2, D = (after - before) / unit, from the upper triangle of the Gram
// matrix: twice what lies above the diagonal, and the diagonal. Row by row, then in order: one sum
// over everything would be split among the threads, and its last bits with it.
double output_energy(const torch::Tensor& after, const torch::Tensor& before, double unit,
                     const torch::Tensor& upper) {
  const int64_t rows = after.size(0), columns = after.size(1);
  std::vector<torch::Tensor> corners;  // on the diagonal, with half of it
  for (int64_t begin = 0; begin < columns; begin += kPanel) {
    const int64_t end = std::min(columns, begin + kPanel);
    auto corner = upper.slice(0, begin, end).slice(1, begin, end).triu();
    corner.diagonal().mul_(0.5);
    corners.push_back(corner);
  }
  auto energy = at::zeros({rows}, after.options().dtype(at::kDouble));
  const auto add = [&](int64_t row, int64_t last) {
    auto part = after.slice(0, row, last).to(at::kFloat) / unit;
    if (before.defined()) part.sub_(before.slice(0, row, last).to(at::kFloat) / unit);
    const auto sum = energy.slice(0, row, last);
    for (int64_t begin = 0; begin < columns; begin += kPanel) {
      const int64_t end = std::min(columns, begin + kPanel);
      const auto panel = part.slice(1, begin, end);
      auto product = at::mm(panel, corners[begin / kPanel]);
      if (begin > 0) {
        product.addmm_(part.slice(1, 0, begin), upper.slice(0, 0, begin).slice(1, begin, end));
      }
      sum.add_(product.mul_(panel).sum(1, false, at::kDouble), 2.0);
    }
  };
  if (after.is_cpu()) {
    const auto body = [&](int64_t row, int64_t last) {
      const at::AutoDispatchBelowADInplaceOrView guard;
      add(row, last);
    };
    parallel_for(rows, kRows, body, Team::always);
  } else {
    add(0, rows);
  }
  const auto in_order = energy.cpu();
  const double* from = in_order.const_data_ptr<double>();
  return std::accumulate(from, from + rows, 0.0);
}

}  // namespace

void fill_basics(const LayerTask& task, int64_t zeros, LayerResult& result) {
  result.name = task.name;
  result.rows = task.weight.size(0);
  result.columns = task.weight.size(1);
  result.sparsity = static_cast<double>(zeros) / result.weight.numel();
  result.tokens = task.stats.tokens();
  result.dead_columns = task.stats.dead_columns();
}

void finish_result(const LayerTask& task, LayerResult& result) {
  const Magnitudes found = magnitudes(result.weight);
  if (!std::isfinite(found.largest)) {
    const auto bad = at::isfinite(result.weight).logical_not().nonzero()[0];
    const auto value = [&](const torch::Tensor& tensor) {
      return tensor[bad[0]][bad[1]].to(at::kFloat).item<float>();
    };
    throw NumericalError(c10::str(
        "[finish_result] compressed weights must be finite. Got ", value(result.weight), " in ",
        task.name, " at row ", bad[0].item<int64_t>(), ", column ", bad[1].item<int64_t>(),
        ", where the weight was ", value(task.weight), "; ", result.weight.scalar_type(),
        " has no room for it. Load the model with dtype=\"float32\", or use more bits."));
  }
  fill_basics(task, found.zeros, result);
  const Quantized quantized = result.quantized();
  result.packed_bytes = static_cast<int64_t>(packed_bytes(result.weight, result.mask, quantized));
  if (!task.measure_loss || !includes(task.stats.needs(), Needs::gram)) return;
  if (task.stats.tokens() == 0) return;
  // Weights are taken in units of a power of two: the square of one can leave float32 where the
  // weight itself does not.
  const double largest = largest_magnitude(task.weight);
  const double unit = largest > 0 ? std::ldexp(1.0, std::ilogb(largest)) : 1.0;
  const auto [sums, factor] = task.stats.upper_gram();
  const auto upper = sums.to(task.weight.device(), at::kFloat);
  const double scale = task.stats.scale() * unit;
  const double error =
      factor * std::max(0.0, output_energy(result.weight, task.weight, unit, upper));
  result.loss = error * scale * scale / static_cast<double>(task.stats.tokens());
  const double whole = factor * output_energy(task.weight, {}, unit, upper);
  if (whole > 0) result.relative_error = error / whole;
}

}  // namespace cupel
