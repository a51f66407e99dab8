// The block of a sweep as tensor operations over all rows at once: for devices that have no kernel
// of their own, and an independent check of the one that the CPU has.
#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/sweep_block.h"

namespace cupel {

namespace {

// Columns among which errors are passed on one by one; what they owe the rest of the block is one
// product. So a column touches a quarter of the block, and most of the arithmetic is a BLAS's.
constexpr int64_t kPart = 32;

// Whole n:m groups: the scores of a group are read when its first column is reached.
int64_t part_columns(const BlockTask& task) {
  return task.m == 0 ? kPart : std::max(task.m, kPart / task.m * task.m);
}

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
  const int64_t columns = task.weight.size(1), part = part_columns(task);
  auto errors = at::empty({task.weight.size(0), std::min(part, columns)}, task.weight.options());
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t begin = i / part * part, end = std::min(columns, begin + part);
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
    errors.select(1, i - begin).copy_(error);
    if (i + 1 < end) {
      task.weight.slice(1, i + 1, end)
          .addr_(error, task.inverse[i].slice(0, i + 1, end), 1.0, -1.0);
    } else if (end < columns) {
      task.weight.slice(1, end).addmm_(errors.slice(1, 0, end - begin),
                                       task.inverse.slice(0, begin, end).slice(1, end), 1.0, -1.0);
    }
  }
}

}  // namespace cupel
