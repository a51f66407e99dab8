// The block of a sweep as tensor operations over all rows at once: for devices that have no kernel
// of their own, and an independent check of the one that the CPU has.
#include <ATen/Functions.h>
#include <torch/types.h>

#include "compress/sweep_block.h"

namespace cupel {

namespace {

// n:m for the columns from `first` on: prunes the m - n lowest scores of every row.
void choose(const BlockTask& task, int64_t first) {
  const int64_t m = task.m;
  auto mask = task.mask.slice(1, first, first + m);
  auto scores =
      task.weight.slice(1, first, first + m).abs() * task.importance.slice(0, first, first + m);
  scores = at::where(mask, scores, at::full_like(scores, -1.0));
  // A stable sort keeps the order of equal scores; seen from behind, the higher column comes first.
  const auto order = task.lower_first
                         ? at::argsort(scores, /*stable=*/true, 1)
                         : at::rsub(at::argsort(scores.flip({1}), /*stable=*/true, 1), m - 1);
  mask.scatter_(1, order.slice(1, 0, m - task.n), false);
}

}  // namespace

void sweep_block_tensor(const BlockTask& task) {
  const int64_t columns = task.weight.size(1);
  for (int64_t i = 0; i < columns; ++i) {
    if (task.m > 0 && i % task.m == 0) choose(task, i);
    const auto value = task.weight.select(1, i);
    torch::Tensor result = value;
    if (task.bits > 0) {
      const auto group = task.group_index.slice(0, i, i + 1);
      const auto scale = task.scales.index_select(1, group).squeeze(1);
      const auto zero = task.zeros.index_select(1, group).squeeze(1);
      const double top = static_cast<double>((1 << task.bits) - 1);
      auto code = (at::round(value / scale) + zero).clamp(0.0, top);
      if (task.masked) code = at::where(task.mask.select(1, i), code, zero);
      task.codes.select(1, i).copy_(code);
      result = (code - zero) * scale;
    } else if (task.masked) {
      result = at::where(task.mask.select(1, i), value, at::zeros_like(value));
    }
    task.change.select(1, i).copy_(task.original.select(1, i) - result);
    const auto error = (value - result) * task.diagonal[i];
    task.loss.add_(error.to(at::kDouble).square());
    if (i + 1 < columns) {
      task.weight.slice(1, i + 1).addr_(error, task.inverse[i].slice(0, i + 1), 1.0, -1.0);
    }
  }
}

}  // namespace cupel
