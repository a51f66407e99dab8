#include <torch/types.h>

#include "compress/sweep_block.h"

namespace cupel {

void sweep_rows_cpu(const BlockTask& task, int64_t begin, int64_t end, const SweepKernel& kernel) {
  SweepRows rows;
  rows.rows = end - begin;
  rows.columns = task.weight.size(1);
  // Where the rows of a matrix begin, and how far apart they are.
  const auto read = [&](const auto*& first, int64_t& stride, const torch::Tensor& matrix) {
    using Entry = std::remove_cvref_t<decltype(*first)>;
    stride = matrix.stride(0);
    first = matrix.const_data_ptr<Entry>() + begin * stride;
  };
  const auto write = [&](auto*& first, int64_t& stride, const torch::Tensor& matrix) {
    using Entry = std::remove_cvref_t<decltype(*first)>;
    stride = matrix.stride(0);
    first = matrix.mutable_data_ptr<Entry>() + begin * stride;
  };
  read(rows.weight, rows.weight_stride, task.weight);
  read(rows.original, rows.original_stride, task.original);
  write(rows.change, rows.change_stride, task.change);
  rows.inverse = task.inverse.const_data_ptr<float>();
  rows.diagonal = task.diagonal.const_data_ptr<float>();
  if (task.masked) write(rows.mask, rows.mask_stride, task.mask);
  rows.mask_given = task.mask_given;
  rows.by_threshold = task.threshold.has_value();
  rows.threshold = task.threshold.value_or(0);
  rows.n = task.n;
  rows.m = task.m;
  rows.lower_first = task.lower_first;
  if (task.m > 0 || task.threshold) rows.importance = task.importance.const_data_ptr<float>();
  rows.bits = task.bits;
  if (task.bits > 0) {
    read(rows.scales, rows.scales_stride, task.scales);
    read(rows.zeros, rows.scales_stride, task.zeros);
    rows.group_index = task.group_index.const_data_ptr<int32_t>();
    write(rows.codes, rows.codes_stride, task.codes);
  }
  rows.loss = task.loss.mutable_data_ptr<double>() + begin;
  kernel.run(rows);
}

}  // namespace cupel
