// W [out, in], R [in, in] upper with H = R R^T, U = R^-1, Q [out, in] the treated weights.
// Left-looking: a block B is brought up to date when it is reached, from all columns A before it,
//   W_B + (W_A - Q_A) R_AB U_BB,
// which equals the papers' column-by-column updates and needs U on the diagonal blocks alone.
#include "cupel/compress/column_sweep.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <numeric>

#include "compress/hessian_factor.h"
#include "compress/sweep_block.h"
#include "cupel/core/check.h"
#include "cupel/core/progress.h"
#include "cupel/core/tiled.h"

namespace cupel {

namespace {

class Sweeper {
 public:
  explicit Sweeper(const ColumnSweep& sweep)
      : sweep_(sweep),
        rows_(sweep.weight.size(0)),
        columns_(sweep.weight.size(1)),
        factor_dtype_(sweep.factor.scalar_type()),
        change_(at::zeros_like(sweep.weight)),
        loss_(at::zeros({rows_}, sweep.weight.options().dtype(at::kDouble))) {
    const auto options = sweep.weight.options();
    result_.weight = at::empty_like(sweep.weight);
    masked_ = sweep.keep.defined() || sweep.select || sweep.m > 0;
    if (masked_) {
      result_.mask = sweep.keep.defined() ? sweep.keep.clone()
                                          : at::ones({rows_, columns_}, options.dtype(at::kBool));
    }
    if (sweep.grid.bits > 0) make_grids();
  }

  SweepResult run() {
    const int64_t block = block_columns();
    for (int64_t begin = 0; begin < columns_; begin += block) {
      run_block(begin, std::min(columns_, begin + block));
    }
    // In row order, so that the sum does not depend on who added what.
    const auto rows = loss_.cpu();
    const double* from = rows.const_data_ptr<double>();
    result_.loss = std::accumulate(from, from + rows_, 0.0) / 2;
    return std::move(result_);
  }

 private:
  // n:m groups are never cut.
  int64_t block_columns() const {
    if (sweep_.m == 0) return sweep_.block;
    return std::max(sweep_.m, sweep_.block / sweep_.m * sweep_.m);
  }

  void make_grids() {
    const SweepGrid& grid = sweep_.grid;
    const auto options = sweep_.weight.options();
    result_.codes = at::empty({rows_, columns_}, options.dtype(at::kByte));
    if (!grid.fit) {
      result_.scales = grid.scales;
      result_.zeros = grid.zeros;
      result_.group_index = grid.group_index.to(at::kInt);
      return;
    }
    group_ = grid.group == 0 ? columns_ : grid.group;
    const int64_t groups = (columns_ + group_ - 1) / group_;
    result_.scales = at::empty({rows_, groups}, options);
    result_.zeros = at::empty({rows_, groups}, options);
    result_.group_index =
        at::floor_divide(at::arange(columns_, options.dtype(at::kLong)), group_).to(at::kInt);
  }

  // Columns [begin, end), up to date with every column before `begin`, and U on them.
  std::pair<torch::Tensor, torch::Tensor> reach(int64_t begin, int64_t end) const {
    const auto inverse = upper_inverse(sweep_.factor.slice(0, begin, end).slice(1, begin, end));
    auto weight = sweep_.weight.slice(1, begin, end).to(factor_dtype_, false, /*copy=*/true);
    if (begin > 0) {
      const auto before = change_.slice(1, 0, begin).to(factor_dtype_);
      const auto right = sweep_.factor.slice(0, 0, begin).slice(1, begin, end);
      tiled_addmm_(weight, tiled_matmul(before, right), inverse);
    }
    return {weight.to(at::kFloat).contiguous(), inverse.to(at::kFloat)};
  }

  // The end of the last group that begins in [begin, end), or `end`.
  int64_t fit_end(int64_t begin, int64_t end) const {
    if (group_ == 0 || (begin + group_ - 1) / group_ * group_ >= end) return end;
    return std::max(end, std::min(columns_, ((end - 1) / group_ + 1) * group_));
  }

  // Fits the grids whose first column lies in [begin, end), on the weights as they stand now;
  // `weight` begins at `begin` and reaches to the end of the last such group.
  void fit_grids(int64_t begin, int64_t end, const torch::Tensor& weight) {
    if (group_ == 0) return;
    for (int64_t from = (begin + group_ - 1) / group_ * group_; from < end; from += group_) {
      const int64_t to = std::min(columns_, from + group_);
      const GridValues values =
          sweep_.grid.fit({from, to, weight.slice(1, from - begin, to - begin),
                           sweep_.factor.slice(0, from, to).slice(1, from, to)});
      result_.scales.select(1, from / group_).copy_(values.scales);
      result_.zeros.select(1, from / group_).copy_(values.zeros);
    }
  }

  void run_block(int64_t begin, int64_t end) {
    still_working();
    // Before the first block nothing has changed, so no group there needs more than the weights.
    const auto [reached, inverses] = reach(begin, begin == 0 ? end : fit_end(begin, end));
    fit_grids(begin, end, begin == 0 ? sweep_.weight : reached);
    const auto weight = reached.slice(1, 0, end - begin).contiguous();
    const auto inverse = inverses.slice(0, 0, end - begin).slice(1, 0, end - begin);
    const auto factor = sweep_.factor.slice(0, begin, end).slice(1, begin, end);
    BlockTask task;
    task.masked = masked_;
    if (masked_) {
      task.mask = result_.mask.slice(1, begin, end).contiguous();
      if (sweep_.select) {
        task.mask = at::logical_and(task.mask, sweep_.select({begin, end, weight, factor}));
      }
    }
    task.weight = weight;
    task.inverse = inverse.contiguous();
    task.diagonal = factor.diagonal().to(at::kFloat).contiguous();
    task.n = sweep_.n;
    task.m = sweep_.m;
    task.lower_first = sweep_.lower_first;
    if (sweep_.m > 0) task.importance = sweep_.importance.slice(0, begin, end).contiguous();
    task.result = at::empty({rows_, end - begin}, sweep_.weight.options());
    task.loss = loss_;
    if (sweep_.grid.bits > 0) {
      task.bits = sweep_.grid.bits;
      // Only the grids that these columns use.
      const auto index = result_.group_index.slice(0, begin, end);
      const auto [used, position] = at::_unique(index, /*sorted=*/true, /*return_inverse=*/true);
      task.scales = result_.scales.index_select(1, used).contiguous();
      task.zeros = result_.zeros.index_select(1, used).contiguous();
      task.group_index = position.to(at::kInt);
      task.codes = at::empty({rows_, end - begin}, task.weight.options().dtype(at::kByte));
    }
    if (weight.is_cpu()) {
      sweep_block_cpu(task);
    } else {
      sweep_block_tensor(task);
    }
    result_.weight.slice(1, begin, end).copy_(task.result);
    if (masked_) result_.mask.slice(1, begin, end).copy_(task.mask);
    if (task.bits > 0) result_.codes.slice(1, begin, end).copy_(task.codes);
    change_.slice(1, begin, end).copy_(sweep_.weight.slice(1, begin, end) - task.result);
  }

  const ColumnSweep& sweep_;
  int64_t rows_, columns_;
  torch::Dtype factor_dtype_;
  torch::Tensor change_;  // W - Q of the columns that are done
  torch::Tensor loss_;    // [out] float64, sum of e^2
  int64_t group_ = 0;     // columns a grid when grids are fitted on the way
  bool masked_ = false;
  SweepResult result_;
};

}  // namespace

SweepResult column_sweep(const ColumnSweep& sweep) {
  const char* here = "column_sweep";
  const auto& weight = sweep.weight;
  check(weight.defined() && weight.dim() == 2 && weight.scalar_type() == at::kFloat, here,
        "a weight is float32 [out, in]. Got ",
        weight.defined() ? weight.sizes() : at::IntArrayRef(), ".");
  const int64_t columns = weight.size(1);
  check(sweep.factor.defined() && sweep.factor.dim() == 2 && sweep.factor.size(0) == columns &&
            sweep.factor.size(1) == columns,
        here, "the factor is [in, in]. Got ",
        sweep.factor.defined() ? sweep.factor.sizes() : at::IntArrayRef(), " for weight ",
        weight.sizes(), ".");
  check(sweep.block >= 1, here, "a block has at least one column. Got ", sweep.block, ".");
  check(sweep.m == 0 || columns % sweep.m == 0, here, "columns must be a multiple of ", sweep.m,
        ". Got weight ", weight.sizes(), ".");
  check(sweep.m == 0 || (sweep.importance.defined() && sweep.importance.size(0) == columns), here,
        "n:m needs one importance a column.");
  const at::NoGradGuard no_grad;
  return Sweeper(sweep).run();
}

}  // namespace cupel
