// R with H = R R^T from the last column to the first. Panels of columns are brought up to date by
// matrix products when they are reached (left-looking: each column to the right is read once a panel),
// factored in tiles, and solved through the inverses of these tiles, which a sweep needs as well.
#include "compress/upper_factor.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/types.h>

#include <Eigen/Core>
#include <algorithm>

#include "core/large_tensor.h"
#include "cupel/core/parallel.h"
#include "cupel/core/progress.h"

namespace cupel {

namespace {

constexpr int64_t kPanel = 8 * kFactorTile;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Rows that one thread takes at a time, above a panel that begins at row `begin`.
int64_t rows_a_task(int64_t begin) { return begin >= 2048 ? 256 : kFactorTile; }

class Factoring {
 public:
  explicit Factoring(const FactorInput& input)
      : input_(input),
        n_(input.matrix.size(0)),
        upper_(large_matrix(n_, n_, input.matrix.options().dtype(input.dtype))) {
    made_.inverses.resize((n_ + kFactorTile - 1) / kFactorTile);
  }

  UpperFactor run() {
    for (int64_t end = n_; end > 0;) {
      still_working();
      const int64_t begin = (end - 1) / kPanel * kPanel;
      bring_up_to_date(begin, end);
      // A value that is not finite spoils the pivot of its row, so no panel needs another look.
      if (!factor_diagonal(begin, end)) return {};
      in_tasks(begin, rows_a_task(begin), [&](int64_t row, int64_t last) {
        for (int64_t tile = end; tile > begin; tile = tile_begin(tile)) {
          subtract(row, last, tile_begin(tile), tile, tile, end);
          solve(row, last, tile_begin(tile), tile);
        }
      });
      end = begin;
    }
    made_.upper = upper_;
    return std::move(made_);
  }

 private:
  static int64_t tile_begin(int64_t end) { return (end - 1) / kFactorTile * kFactorTile; }

  // body(first row, last row) over [0, rows), each on one thread with a BLAS that stays on it.
  template <typename Body>
  static void in_tasks(int64_t rows, int64_t grain, const Body& body) {
    parallel_for(
        rows, grain,
        [&](int64_t row, int64_t last) {
          const at::AutoDispatchBelowADInplaceOrView guard;
          body(row, last);
        },
        Team::always);
  }

  torch::Tensor part(int64_t row, int64_t last, int64_t begin, int64_t end) const {
    return upper_.slice(0, row, last).slice(1, begin, end);
  }

  // Rows [row, last) of columns [begin, end) lose what columns [from, to) account for.
  void subtract(int64_t row, int64_t last, int64_t begin, int64_t end, int64_t from,
                int64_t to) const {
    if (from == to) return;
    part(row, last, begin, end)
        .addmm_(part(row, last, from, to), part(begin, end, from, to).t(), 1.0, -1.0);
  }

  // X with X R^T = the columns of a factored tile.
  void solve(int64_t row, int64_t last, int64_t begin, int64_t end) const {
    const auto columns = part(row, last, begin, end);
    columns.copy_(at::mm(columns, made_.inverses[begin / kFactorTile].t()));
  }

  // The columns [begin, end) of the matrix, less what the columns to the right account for.
  void bring_up_to_date(int64_t begin, int64_t end) const {
    const auto load = [&](int64_t row, int64_t last, int64_t from) {
      auto columns = part(row, last, from, end);
      const auto given = input_.matrix.slice(0, row, last).slice(1, from, end);
      if (input_.scale != 1 && given.scalar_type() == input_.dtype) {
        at::mul_out(columns, given, at::scalar_tensor(input_.scale, at::kDouble));
      } else {
        columns.copy_(given);
        if (input_.scale != 1) columns.mul_(input_.scale);
      }
      if (from == row && input_.diagonal.defined()) {
        columns.diagonal().copy_(input_.diagonal.slice(0, row, last));
      }
      subtract(row, last, from, end, end, n_);
    };
    const int64_t high = rows_a_task(begin), above = (begin + high - 1) / high;
    const int64_t strips = (end - begin + kFactorTile - 1) / kFactorTile;
    in_tasks(above + strips, 1, [&](int64_t task, int64_t) {
      if (task < above) return load(task * high, std::min(begin, (task + 1) * high), begin);
      const int64_t row = begin + (task - above) * kFactorTile;
      const int64_t last = std::min(end, row + kFactorTile);
      part(row, last, 0, row).zero_();
      load(row, last, row);
    });
  }

  bool factor_diagonal(int64_t begin, int64_t end) {
    for (int64_t last = end; last > begin;) {
      const int64_t first = tile_begin(last);
      if (last < end) {
        in_tasks(last - begin, kFactorTile, [&](int64_t row, int64_t to) {
          subtract(begin + row, begin + to, first, last, last, end);
        });
      }
      const auto tile = part(first, last, first, last);
      if (!factor_tile(tile)) return false;
      made_.inverses[first / kFactorTile] = invert_tile(tile);
      in_tasks(first - begin, kFactorTile,
               [&](int64_t row, int64_t to) { solve(begin + row, begin + to, first, last); });
      last = first;
    }
    return true;
  }

  const FactorInput& input_;
  int64_t n_;
  torch::Tensor upper_;
  UpperFactor made_;
};

UpperFactor factor_on_device(const FactorInput& input) {
  auto matrix = input.matrix.to(input.dtype).triu() * input.scale;
  if (input.diagonal.defined()) matrix.diagonal().copy_(input.diagonal);
  if (!at::isfinite(matrix).all().item<bool>()) return {};
  const auto [lower, info] = at::linalg_cholesky_ex(matrix.flip({0, 1}), /*upper=*/false);
  if (info.item<int>() != 0) return {};
  const auto upper = lower.flip({0, 1}).contiguous();
  if (!at::isfinite(upper).all().item<bool>()) return {};
  return {upper, {}};
}

}  // namespace

UpperFactor upper_factor(const FactorInput& input) {
  if (!input.matrix.is_cpu()) return factor_on_device(input);
  return Factoring(input).run();
}

torch::Tensor upper_factor(const torch::Tensor& matrix) {
  return upper_factor({.matrix = matrix, .dtype = matrix.scalar_type()}).upper;
}

torch::Tensor upper_inverse(const torch::Tensor& upper) {
  if (upper.is_cpu() && upper.size(0) <= kFactorTile) return invert_tile(upper);
  const auto wide = upper.to(at::kDouble);
  const auto identity = at::eye(wide.size(0), wide.options());
  if (!upper.is_cpu()) {
    return at::linalg_solve_triangular(wide, identity, /*upper=*/true).to(upper.scalar_type());
  }
  auto inverse = identity;
  const auto packed = wide.contiguous();
  const int64_t n = packed.size(0);
  const Eigen::Map<const Matrix> from(packed.const_data_ptr<double>(), n, n);
  Eigen::Map<Matrix> to(inverse.mutable_data_ptr<double>(), n, n);
  from.triangularView<Eigen::Upper>().solveInPlace(to);
  return inverse.to(upper.scalar_type());
}

}  // namespace cupel
