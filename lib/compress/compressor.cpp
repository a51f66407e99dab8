#include "cupel/compress/compressor.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <numeric>

#include "compress/result_basics.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/tiled.h"

namespace cupel {

LayerResult Compressor::compress(const torch::Tensor& weight, const InputStats& stats,
                                 const LayerOptions& options) const {
  const LayerTask task{options.name, weight, stats, options.mask, nullptr, options.prune_count};
  return options.nan_policy == NanPolicy::keep ? compress_finite_rows(*this, task) : compress(task);
}

LayerResult Compressor::compress(const torch::Tensor& weight, const LayerOptions& options) const {
  check(weight.defined() && weight.dim() == 2 && weight.size(1) >= 1, "Compressor",
        "a weight is [out, in]. Got ", weight.defined() ? weight.sizes() : at::IntArrayRef(),
        " in ", options.name, ".");
  return compress(weight, InputStats(weight.size(1), Needs::none), options);
}

void check_task(const char* function, const LayerTask& task, Needs needs) {
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
  const auto finite = at::isfinite(weight);
  if (!finite.all().item<bool>()) {
    const auto bad = finite.logical_not().nonzero();
    throw NumericalError(c10::str("[", function, "] weights must be finite. Got ", bad.size(0),
                                  " that are not in ", task.name, ", the first at row ",
                                  bad[0][0].item<int64_t>(), ", column ", bad[0][1].item<int64_t>(),
                                  "; the checkpoint is damaged."));
  }
}

namespace {

// sum_t ||D x_t||^2 = sum of (D G) * D, with G the Gram matrix. Row by row, then in order: one sum
// over everything would be split among the threads, and its last bits with it.
double output_energy(const torch::Tensor& weight, const torch::Tensor& gram) {
  const auto rows = (tiled_matmul(weight, gram) * weight).sum(1, false, at::kDouble).cpu();
  const double* from = rows.const_data_ptr<double>();
  return std::accumulate(from, from + rows.numel(), 0.0);
}

}  // namespace

void fill_basics(const LayerTask& task, LayerResult& result) {
  result.name = task.name;
  result.rows = task.weight.size(0);
  result.columns = task.weight.size(1);
  result.sparsity =
      static_cast<double>((result.weight == 0).sum().item<int64_t>()) / result.weight.numel();
  result.tokens = task.stats.tokens();
  result.dead_columns = task.stats.dead_columns();
}

void finish_result(const LayerTask& task, LayerResult& result) {
  const auto before = task.weight.to(at::kFloat), after = result.weight.to(at::kFloat);
  const auto finite = at::isfinite(result.weight);
  if (!finite.all().item<bool>()) {
    const auto bad = finite.logical_not().nonzero()[0];
    throw NumericalError(c10::str(
        "[finish_result] compressed weights must be finite. Got ",
        after[bad[0]][bad[1]].item<float>(), " in ", task.name, " at row ", bad[0].item<int64_t>(),
        ", column ", bad[1].item<int64_t>(), ", where the weight was ",
        before[bad[0]][bad[1]].item<float>(), "; ", result.weight.scalar_type(),
        " has no room for it. Load the model with dtype=\"float32\", or use more bits."));
  }
  fill_basics(task, result);
  const Quantized quantized = result.quantized();
  result.packed_bytes = static_cast<int64_t>(packed_bytes(result.weight, result.mask, quantized));
  if (!includes(task.stats.needs(), Needs::gram) || task.stats.tokens() == 0) return;
  // Weights are taken in units of a power of two: the square of one can leave float32 where the
  // weight itself does not.
  const double largest = before.abs().max().item<double>();
  const double unit = largest > 0 ? std::ldexp(1.0, std::ilogb(largest)) : 1.0;
  const auto whole_units = before / unit, error_units = after / unit - whole_units;
  const auto gram = task.stats.gram().to(after.device());
  const double scale = task.stats.scale() * unit;
  const double error = std::max(0.0, output_energy(error_units, gram));
  result.loss = error * scale * scale / static_cast<double>(task.stats.tokens());
  const double whole = output_energy(whole_units, gram);
  if (whole > 0) result.relative_error = error / whole;
}

}  // namespace cupel
