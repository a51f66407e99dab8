#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/compress/compressor.h"
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
  result.weight = task.weight.clone();
  if (task.mask.defined()) result.mask = task.mask.clone();
  if (good.numel() > 0) {
    LayerTask others = task;
    others.weight = task.weight.index_select(0, good);
    if (task.mask.defined()) others.mask = task.mask.index_select(0, good);
    LayerResult made = method.compress(others);
    result.weight.index_copy_(0, good, made.weight);
    if (made.mask.defined()) {
      if (!result.mask.defined()) result.mask = at::ones_like(task.weight, at::kBool);
      result.mask.index_copy_(0, good, made.mask);
    }
    result.loss = made.loss;
    result.relative_error = made.relative_error;
    result.sweep_loss = made.sweep_loss;
    result.damping = made.damping;
    result.rungs = made.rungs;
    result.seconds = made.seconds;
    result.notes = made.notes;
    if (made.bits > 0) result.notes.push_back("no codes: a grid has none for what is not finite");
  }
  result.notes.push_back(told(bad));
  result.name = task.name;
  result.rows = task.weight.size(0);
  result.columns = task.weight.size(1);
  result.sparsity =
      static_cast<double>((result.weight == 0).sum().item<int64_t>()) / result.weight.numel();
  result.tokens = task.stats.tokens();
  result.dead_columns = task.stats.dead_columns();
  result.packed_bytes = static_cast<int64_t>(packed_bytes(result.weight, result.mask, {}));
  return result;
}

}  // namespace cupel
