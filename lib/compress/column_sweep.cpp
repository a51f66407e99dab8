// W [out, in], R [in, in] upper with H = R R^T, U = R^-1, Q [out, in] the treated weights.
// Left-looking: a block B is brought up to date when it is reached, from all columns A before it,
//   W_B + (W_A - Q_A) R_AB U_BB,
// which equals the papers' column-by-column updates and needs U on the diagonal blocks alone. The
// products (W_A - Q_A) R_AB are made for a few blocks at once, because a BLAS is faster on them.
#include "cupel/compress/column_sweep.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "checkpoint/decode_rows.h"
#include "compress/block_selection.h"
#include "compress/hessian_factor.h"
#include "compress/sweep_block.h"
#include "core/clones.h"
#include "core/large_tensor.h"
#include "cupel/core/check.h"
#include "cupel/core/parallel.h"
#include "cupel/core/progress.h"
#include "cupel/core/tiled.h"

namespace cupel {

namespace {

// Columns whose products with the changes before them are made at once.
constexpr int64_t kPanel = 512;

// Rows that one thread treats at a time: as many as leave a thread enough to share.
int64_t rows_a_tile(int64_t rows) {
  const int64_t most = rows >= 2048 ? 256 : 128;
  const int64_t tiles = std::max<int64_t>(1, (rows + most - 1) / most);
  return std::max<int64_t>(32, ((rows + tiles - 1) / tiles + 31) / 32 * 32);
}

// What is left of the weights, in the place of their changes.
CUPEL_CLONES
void subtract_change(const float* weight, float* change, const bool* kept, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    change[i] = change[i] == 0 ? weight[i] : weight[i] - change[i];
  }
  if (!kept) return;
  for (int64_t i = 0; i < size; ++i) change[i] = kept_or_zero(change[i], kept[i]);
}

class Sweeper {
 public:
  explicit Sweeper(const ColumnSweep& sweep)
      : sweep_(sweep),
        rows_(sweep.weight.size(0)),
        columns_(sweep.weight.size(1)),
        block_(std::min(columns_, block_columns(sweep))),
        panel_(std::max<int64_t>(1, kPanel / block_) * block_),
        on_cpu_(sweep.weight.is_cpu()),
        factor_dtype_(sweep.factor.scalar_type()) {
    const auto options = sweep.weight.options();
    change_ = large_empty(sweep.weight.sizes(), options);
    loss_ = at::zeros({rows_}, options.dtype(at::kDouble));
    diagonal_ = sweep.factor.diagonal().to(at::kFloat).contiguous();
    spread_ = large_empty({rows_, std::min(panel_, columns_)}, options.dtype(factor_dtype_));
    reached_ = at::empty({rows_, block_}, options);
    invert_blocks();
    masked_ = sweep.keep.defined() || sweep.select || sweep.count || sweep.m > 0;
    if (masked_) {
      const auto bools = options.dtype(at::kBool);
      if (sweep.keep.defined()) {
        result_.mask = sweep.keep.clone(at::MemoryFormat::Contiguous);
      } else {  // on the CPU nothing looks at it before it is written
        result_.mask = on_cpu_ || sweep.select ? large_empty({rows_, columns_}, bools)
                                               : at::ones({rows_, columns_}, bools);
      }
    }
    if (sweep.count) selection_.emplace(rows_, rows_a_tile(rows_), sweep.name);
    if (sweep.grid.bits > 0) make_grids();
  }

  SweepResult run() {
    for (int64_t begin = 0; begin < columns_; begin += panel_) {
      const int64_t end = std::min(columns_, begin + panel_);
      if (asks_between_blocks()) {
        for (int64_t at = begin; at < end; at += block_) run_block(begin, at);
        continue;
      }
      still_working();
      for_rows([&](int64_t row, int64_t last) {
        for (int64_t at = begin; at < end; at += block_) {
          reach(begin, at, row, last);
          fit_rows(at, row, last);
          treat(task_of(at), row, last);
        }
      });
    }
    // In row order, so that the sum does not depend on who added what.
    const auto rows = loss_.cpu();
    const double* from = rows.const_data_ptr<double>();
    result_.loss = std::accumulate(from, from + rows_, 0.0) / 2;
    result_.weight = sweep_.grid.bits == 0 ? treated() : decoded();
    return std::move(result_);
  }

 private:
  // n:m groups are never cut.
  static int64_t block_columns(const ColumnSweep& sweep) {
    if (sweep.m == 0) return sweep.block;
    return std::max(sweep.m, sweep.block / sweep.m * sweep.m);
  }

  // Whether something looks at all rows of a block at once.
  bool asks_between_blocks() const {
    return sweep_.select || selection_ || (group_ > 0 && !fits_by_rows());
  }

  bool fits_by_rows() const {
    return on_cpu_ && sweep_.grid.fit_rows && group_ > 0 && block_ % group_ == 0;
  }

  // body(first row, last row), each on one thread; on other devices all rows at once.
  template <typename Body>
  void for_rows(const Body& body) const {
    if (!on_cpu_) return body(0, rows_);
    parallel_for(
        rows_, rows_a_tile(rows_),
        [&](int64_t row, int64_t last) {
          // Worker threads are not in the caller's inference mode.
          const at::AutoDispatchBelowADInplaceOrView guard;
          body(row, last);
        },
        Team::always);
  }

  // Q = W - (W - Q), in the memory of the changes: exact where nothing changed and where a weight is
  // pruned, even for a thread that flushes denormal numbers.
  torch::Tensor treated() const {
    if (!on_cpu_) {
      const auto left = at::where(change_ == 0, sweep_.weight, sweep_.weight - change_);
      return masked_ ? at::where(result_.mask, left, at::zeros_like(left)) : left;
    }
    const float* weight = sweep_.weight.const_data_ptr<float>();
    float* change = change_.mutable_data_ptr<float>();
    const bool* kept = masked_ ? result_.mask.const_data_ptr<bool>() : nullptr;
    parallel_for(rows_ * columns_, 1 << 16, [&](int64_t begin, int64_t end) {
      subtract_change(weight + begin, change + begin, kept ? kept + begin : nullptr, end - begin);
    });
    return change_;
  }

  // What the codes stand for, on the CPU in the memory of the changes.
  torch::Tensor decoded() const {
    const Quantized quantized{result_.codes, result_.scales, result_.zeros.to(at::kInt),
                              result_.group_index, sweep_.grid.bits};
    if (!on_cpu_) return dequantize(quantized);
    decode_rows(quantized, change_);
    return change_;
  }

  void invert_blocks() {
    if (block_ == kFactorTile && !sweep_.inverses.empty()) {
      inverses_ = sweep_.inverses;
      return;
    }
    const int64_t blocks = (columns_ + block_ - 1) / block_;
    inverses_.resize(blocks);
    const auto invert = [&](int64_t k, int64_t) {
      const int64_t begin = k * block_, end = std::min(columns_, begin + block_);
      inverses_[k] = upper_inverse(sweep_.factor.slice(0, begin, end).slice(1, begin, end));
    };
    if (!on_cpu_) {
      for (int64_t k = 0; k < blocks; ++k) invert(k, k + 1);
      return;
    }
    parallel_for(blocks, 1, [&](int64_t k, int64_t end) {
      const at::AutoDispatchBelowADInplaceOrView guard;
      invert(k, end);
    });
  }

  void make_grids() {
    const SweepGrid& grid = sweep_.grid;
    const auto options = sweep_.weight.options();
    result_.codes = large_empty({rows_, columns_}, options.dtype(at::kByte));
    if (!grid.fit) {
      result_.scales = grid.scales.contiguous();
      result_.zeros = grid.zeros.contiguous();
      result_.group_index = grid.group_index.to(at::kInt);
      return;
    }
    group_ = grid.group == 0 ? columns_ : std::min(columns_, grid.group);
    const int64_t groups = (columns_ + group_ - 1) / group_;
    result_.scales = at::empty({rows_, groups}, options);
    result_.zeros = at::empty({rows_, groups}, options);
    result_.group_index =
        at::floor_divide(at::arange(columns_, options.dtype(at::kLong)), group_).to(at::kInt);
  }

  // What the columns [from, begin) add to the products of rows [row, last) with [begin, end).
  void add_products(const torch::Tensor& sum, int64_t from, int64_t to, int64_t begin, int64_t end,
                    int64_t row, int64_t last, double beta) const {
    const auto before = change_.slice(0, row, last).slice(1, from, to).to(factor_dtype_);
    sum.addmm_(before, sweep_.factor.slice(0, from, to).slice(1, begin, end), beta);
  }

  // Brings rows [row, last) of the block at `begin` up to date with every column before it, in
  // reached_. The blocks of a panel are reached in their order.
  void reach(int64_t panel, int64_t begin, int64_t row, int64_t last) const {
    const int64_t end = std::min(columns_, begin + block_);
    const auto weight = sweep_.weight.slice(0, row, last).slice(1, begin, end);
    auto reached = reached_.slice(0, row, last).slice(1, 0, end - begin);
    if (begin == 0) {
      reached.copy_(weight);
      if (columns_ > block_) spread_.slice(0, row, last).zero_();
      return;
    }
    const auto rows = spread_.slice(0, row, last);
    if (begin == panel) {
      const int64_t panel_end = std::min(columns_, panel + panel_);
      add_products(rows.slice(1, 0, panel_end - panel), 0, panel, panel, panel_end, row, last, 0);
    }
    const auto sum = rows.slice(1, begin - panel, end - panel);
    if (begin > panel) add_products(sum, panel, begin, begin, end, row, last, 1);
    const auto& inverse = inverses_[begin / block_];
    if (factor_dtype_ == at::kFloat) {
      at::addmm_out(reached, weight, sum, inverse);
    } else {
      reached.copy_(at::addmm(weight.to(factor_dtype_), sum, inverse));
    }
  }

  // The columns [begin, end), as every column before `begin` leaves them; for any `end`.
  torch::Tensor reach_far(int64_t begin, int64_t end) const {
    auto weight = sweep_.weight.slice(1, begin, end).to(factor_dtype_, false, /*copy=*/true);
    const auto inverse = upper_inverse(sweep_.factor.slice(0, begin, end).slice(1, begin, end));
    const auto before = change_.slice(1, 0, begin).to(factor_dtype_);
    const auto right = sweep_.factor.slice(0, 0, begin).slice(1, begin, end);
    tiled_addmm_(weight, tiled_matmul(before, right), inverse);
    return weight.to(at::kFloat).contiguous();
  }

  // Fits the grids whose first column lies in [begin, end), on the weights as they stand now.
  void fit_grids(int64_t begin, int64_t end, const torch::Tensor& reached) {
    const int64_t first = (begin + group_ - 1) / group_ * group_;
    if (first >= end) return;
    const int64_t last = std::min(columns_, ((end - 1) / group_ + 1) * group_);
    // Before the first block nothing has changed.
    const auto weight = begin == 0 ? sweep_.weight : last <= end ? reached : reach_far(begin, last);
    for (int64_t from = first; from < end; from += group_) {
      const int64_t to = std::min(columns_, from + group_);
      const GridValues values =
          sweep_.grid.fit({from, to, weight.slice(1, from - begin, to - begin),
                           sweep_.factor.slice(0, from, to).slice(1, from, to)});
      result_.scales.select(1, from / group_).copy_(values.scales);
      result_.zeros.select(1, from / group_).copy_(values.zeros);
    }
  }

  // The grids of the block at `begin`, for rows [row, last).
  void fit_rows(int64_t begin, int64_t row, int64_t last) const {
    if (group_ == 0) return;
    const int64_t end = std::min(columns_, begin + block_), groups = result_.scales.size(1);
    for (int64_t from = begin; from < end; from += group_) {
      const int64_t to = std::min(end, from + group_), first = row * groups + from / group_;
      const auto reached = reached_.slice(0, row, last).slice(1, from - begin, to - begin);
      sweep_.grid.fit_rows({from, to, reached, {}}, row,
                           result_.scales.mutable_data_ptr<float>() + first,
                           result_.zeros.mutable_data_ptr<float>() + first, groups);
    }
  }

  void run_block(int64_t panel, int64_t begin) {
    still_working();
    const int64_t end = std::min(columns_, begin + block_);
    const auto reached = reached_.slice(1, 0, end - begin);
    if (selection_) {
      selection_->begin(reached, sweep_.importance.slice(0, begin, end),
                        sweep_.keep.defined() ? result_.mask.slice(1, begin, end) : sweep_.keep);
    }
    for_rows([&](int64_t row, int64_t last) {
      reach(panel, begin, row, last);
      if (selection_) selection_->score(row, last);
    });
    if (group_ > 0) fit_grids(begin, end, reached);
    if (selection_) selection_->choose(sweep_.count(begin, end));
    if (sweep_.select) {
      const auto factor = sweep_.factor.slice(0, begin, end).slice(1, begin, end);
      const auto chosen = sweep_.select({begin, end, reached, factor});
      auto mask = result_.mask.slice(1, begin, end);
      if (sweep_.keep.defined()) {
        mask.logical_and_(chosen);
      } else {
        mask.copy_(chosen);
      }
    }
    BlockTask task = task_of(begin);
    const bool written = selection_ && selection_->divides_ties();
    if (written) task.mask_given = true;
    if (selection_ && !written) task.threshold = selection_->threshold();
    for_rows([&](int64_t row, int64_t last) {
      if (written) selection_->write(task.mask, row, last);
      treat(task, row, last);
    });
  }

  BlockTask task_of(int64_t begin) const {
    const int64_t end = std::min(columns_, begin + block_);
    BlockTask task;
    task.weight = reached_.slice(1, 0, end - begin);
    task.original = sweep_.weight.slice(1, begin, end);
    task.change = change_.slice(1, begin, end);
    task.inverse = inverses_[begin / block_].to(at::kFloat);
    task.diagonal = diagonal_.slice(0, begin, end);
    task.masked = masked_;
    if (masked_) task.mask = result_.mask.slice(1, begin, end);
    task.mask_given = sweep_.keep.defined() || sweep_.select;
    task.n = sweep_.n;
    task.m = sweep_.m;
    task.lower_first = sweep_.lower_first;
    if (sweep_.m > 0 || sweep_.count)
      task.importance = sweep_.importance.slice(0, begin, end).contiguous();
    task.loss = loss_;
    task.bits = sweep_.grid.bits;
    if (task.bits > 0) {
      task.scales = result_.scales;
      task.zeros = result_.zeros;
      task.group_index = result_.group_index.slice(0, begin, end);
      task.codes = result_.codes.slice(1, begin, end);
    }
    return task;
  }

  void treat(const BlockTask& task, int64_t row, int64_t last) const {
    if (on_cpu_) {
      sweep_rows_cpu(task, row, last);
    } else {
      sweep_block_tensor(task);
    }
  }

  const ColumnSweep& sweep_;
  int64_t rows_, columns_, block_, panel_;
  bool on_cpu_;
  torch::Dtype factor_dtype_;
  std::vector<torch::Tensor> inverses_;  // U of each block
  torch::Tensor diagonal_;               // R_ii
  torch::Tensor change_;                 // W - Q of the columns that are done
  torch::Tensor spread_;                 // of a panel, (W_A - Q_A) R_AB
  torch::Tensor reached_;                // the block at hand, compensated
  torch::Tensor loss_;                   // [out] float64, sum of e^2
  int64_t group_ = 0;                    // columns a grid when grids are fitted on the way
  bool masked_ = false;
  std::optional<BlockSelection> selection_;
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
  check(!sweep.count ||
            (weight.is_cpu() && sweep.importance.defined() && sweep.importance.size(0) == columns),
        here, "weights are counted off on the CPU, with one importance a column.");
  check(!sweep.count || (!sweep.select && sweep.m == 0), here,
        "count takes the place of select and of n:m.");
  check(sweep.m == 0 || (sweep.importance.defined() && sweep.importance.size(0) == columns), here,
        "n:m needs one importance a column.");
  const at::NoGradGuard no_grad;
  ColumnSweep rows_together = sweep;
  rows_together.weight = weight.contiguous();
  return Sweeper(rows_together).run();
}

}  // namespace cupel
