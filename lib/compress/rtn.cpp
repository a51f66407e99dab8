#include "cupel/compress/rtn.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>

#include "core/json.h"
#include "cupel/core/check.h"

namespace cupel {

Rtn::Rtn(Grid grid, RtnOptions options) : grid_(std::move(grid)), options_(options) {
  check_grid(grid_);
}

std::string Rtn::name() const {
  std::string text = c10::str("rtn ", grid_.bits, " bit");
  if (grid_.group > 0) text += c10::str(" group ", grid_.group);
  return text;
}

std::string Rtn::options_json() const {
  return dump_json({{"method", "rtn"},
                    {"bits", grid_.bits},
                    {"group", grid_.group},
                    {"symmetric", grid_.symmetric},
                    {"clip", grid_.clip},
                    {"scale_dtype", grid_.scale_dtype},
                    {"rules", to_string(options_.rules)}});
}

LayerResult Rtn::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  check_task("Rtn", task, Needs::none);
  auto weight = task.weight.detach().to(at::kFloat);
  // The code of zero is the zero point itself, so pruned weights come back as exact zeros.
  if (task.mask.defined()) weight = at::where(task.mask, weight, at::zeros_like(weight));
  const Quantized grid = quantize(weight, grid_, options_.rules, task.name);
  LayerResult result;
  result.mask = task.mask;
  result.codes = grid.codes;
  result.scales = grid.scales;
  result.zeros = grid.zeros;
  result.group_index = grid.group_index;
  result.bits = grid.bits;
  result.weight = dequantize(grid).to(task.weight.scalar_type());
  finish_result(task, result);
  const int64_t scale_bytes = grid_.scale_dtype == "float32" ? 4 : 2;
  result.packed_bytes = static_cast<int64_t>(
      packed_bytes(result.weight, result.mask, grid, scale_bytes, grid_.symmetric));
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
