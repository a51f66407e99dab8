#include <ATen/Functions.h>
#include <torch/types.h>

#include "compress/result_basics.h"
#include "core/scan.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

std::string told(const torch::Tensor& rows) {
  std::string text =
      c10::str(rows.numel(), " rows with weights that are not finite left as they were: ");
  for (int64_t i = 0; i < rows.numel() && i < 10; ++i) {
    text += c10::str(i ? ", " : "", rows[i].item<int64_t>());
  }
  return rows.numel() > 10 ? text + ", ..." : text;
}

}  // namespace

NanPolicy parse_nan_policy(const std::string& name) {
  if (name == "refuse") return NanPolicy::refuse;
  if (name == "keep") return NanPolicy::keep;
  throw std::invalid_argument("[nan_policy] it is refuse or keep. Got '" + name + "'.");
}

LayerResult compress_finite_rows(const Compressor& method, const LayerTask& task) {
  const at::NoGradGuard no_grad;
  check(task.weight.defined() && task.weight.dim() == 2, "compress_finite_rows",
        "a weight is [out, in]. Got ",
        task.weight.defined() ? task.weight.sizes() : at::IntArrayRef(), " in ", task.name, ".");
  const auto finite = at::isfinite(task.weight).all(1);
  const auto good = finite.nonzero().flatten(), bad = finite.logical_not().nonzero().flatten();
  if (bad.numel() == 0) return method.compress(task);
  LayerResult result;
  auto weight = task.weight.clone();
  auto mask = task.mask.defined() ? task.mask.clone() : torch::Tensor();
  if (good.numel() > 0) {
    LayerTask others = task;
    others.weight = weight.index_select(0, good);
    if (mask.defined()) others.mask = mask.index_select(0, good);
    result = method.compress(others);
    weight.index_copy_(0, good, result.weight);
    if (result.mask.defined()) {
      if (!mask.defined()) mask = at::ones_like(weight, at::kBool);
      mask.index_copy_(0, good, result.mask);
    }
    if (result.bits > 0) result.notes.push_back("no codes: a grid has none for what is not finite");
  }
  result.notes.push_back(told(bad));
  result.weight = weight;
  result.mask = mask;
  result.codes = result.scales = result.zeros = torch::Tensor();
  result.group_index = result.permutation = torch::Tensor();
  result.bits = 0;
  fill_basics(task, count_zeros(result.weight), result);
  result.packed_bytes = static_cast<int64_t>(packed_bytes(result.weight, result.mask, {}));
  return result;
}

}  // namespace cupel
