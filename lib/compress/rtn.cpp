#include "cupel/compress/rtn.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>

#include "compress/grid_result.h"
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
  Json json{{"method", "rtn"}};
  json.update(parse_json(grid_json(grid_), "grid"));
  json["rules"] = to_string(options_.rules);
  return dump_json(json);
}

LayerResult Rtn::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  check_task("Rtn", task, Needs::none);
  auto weight = task.weight.detach().to(at::kFloat);
  // The code of zero is the zero point itself, so pruned weights come back as exact zeros.
  if (task.mask.defined()) weight = at::where(task.mask, weight, at::zeros_like(weight));
  LayerResult result;
  result.mask = task.mask;
  set_quantized(task, quantize(weight, grid_, options_.rules, task.name), {}, result);
  finish_result(task, result);
  count_packed(grid_, result);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
