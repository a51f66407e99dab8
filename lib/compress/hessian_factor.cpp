// One factor serves the whole sweep: with H = R R^T and R upper triangular, R^-1 is the upper
// Cholesky factor of H^-1 that the papers' code reaches through an explicit inverse.
#include "compress/hessian_factor.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/types.h>

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

#include "cupel/core/parallel.h"
#include "cupel/core/progress.h"
#include "cupel/core/tiled.h"

namespace cupel {

namespace {

constexpr int64_t kTile = 128;
// Below this share of its own diagonal a pivot has lost four of float32's seven digits.
constexpr double kSmallestPivot = 1e-4;
// What is left of a pivot after sums in float32 is not worth having below this.
constexpr double kFloatNoise = 1e-8;

template <typename Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// R of one diagonal tile in place: the ordinary lower factor of the tile seen from its last corner.
template <typename Scalar>
bool factor_tile(const torch::Tensor& tile) {
  const int64_t n = tile.size(0), stride = tile.stride(0);
  Scalar* data = tile.mutable_data_ptr<Scalar>();
  Matrix<Scalar> reversed(n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) reversed(i, j) = data[(n - 1 - i) * stride + n - 1 - j];
  }
  const Eigen::LLT<Matrix<Scalar>, Eigen::Lower> llt(reversed);
  if (llt.info() != Eigen::Success) return false;
  const auto& lower = llt.matrixLLT();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const Scalar value = j <= i ? lower(i, j) : Scalar(0);
      if (!std::isfinite(value)) return false;  // Eigen reports success on NaN
      data[(n - 1 - i) * stride + n - 1 - j] = value;
    }
  }
  return true;
}

bool factor_tile(const torch::Tensor& tile) {
  return tile.scalar_type() == at::kDouble ? factor_tile<double>(tile) : factor_tile<float>(tile);
}

// X with X R^T = panel, in place; rows are dealt out among the threads.
void solve_panel(const torch::Tensor& tile, const torch::Tensor& panel) {
  const auto transposed = tile.t();
  parallel_for(
      panel.size(0), kTile,
      [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView guard;
        const auto rows = panel.slice(0, begin, end);
        rows.copy_(at::linalg_solve_triangular(transposed, rows, /*upper=*/false, /*left=*/false));
      },
      Team::always);
}

std::string attempt(double damping, const char* precision, const char* outcome) {
  return c10::str("damping ", damping, " in ", precision, ": ", outcome);
}

// The smallest R_ii^2 / H_ii: what is left of a column when the later ones have explained it.
double smallest_pivot(const torch::Tensor& upper, const torch::Tensor& matrix) {
  return (upper.diagonal().square() / matrix.diagonal()).min().item<double>();
}

}  // namespace

torch::Tensor upper_factor(const torch::Tensor& matrix) {
  const int64_t n = matrix.size(0);
  auto upper = matrix.triu();
  if (!at::isfinite(upper).all().item<bool>()) return {};
  if (!matrix.is_cpu()) {
    const auto [lower, info] = at::linalg_cholesky_ex(upper.flip({0, 1}), /*upper=*/false);
    if (info.item<int>() != 0) return {};
    return lower.flip({0, 1}).contiguous();
  }
  for (int64_t end = n; end > 0;) {
    still_working();
    const int64_t begin = (end - 1) / kTile * kTile;
    const auto columns = upper.slice(1, begin, end);
    // What the columns to the right account for; left-looking, so each is read once.
    if (end < n) {
      const auto right = upper.slice(1, end);
      tiled_addmm_(columns.slice(0, 0, end), right.slice(0, 0, end),
                   right.slice(0, begin, end).t().contiguous(), -1.0);
    }
    const auto tile = columns.slice(0, begin, end);
    if (!factor_tile(tile)) return {};
    if (begin > 0) solve_panel(tile, columns.slice(0, 0, begin));
    end = begin;
  }
  return at::isfinite(upper).all().item<bool>() ? upper : torch::Tensor();
}

torch::Tensor upper_inverse(const torch::Tensor& upper) {
  const auto wide = upper.to(at::kDouble);
  const auto identity = at::eye(wide.size(0), wide.options());
  if (!upper.is_cpu()) {
    return at::linalg_solve_triangular(wide, identity, /*upper=*/true).to(upper.scalar_type());
  }
  auto inverse = identity;
  const auto packed = wide.contiguous();
  const int64_t n = packed.size(0);
  const Eigen::Map<const Matrix<double>> from(packed.const_data_ptr<double>(), n, n);
  Eigen::Map<Matrix<double>> to(inverse.mutable_data_ptr<double>(), n, n);
  from.triangularView<Eigen::Upper>().solveInPlace(to);
  return inverse.to(upper.scalar_type());
}

Hessian make_hessian(const InputStats& stats, Rules rules, const torch::Device& device) {
  Hessian hessian;
  const bool published = rules == Rules::published;
  const auto count =
      static_cast<double>(published ? std::max<int64_t>(1, stats.sequences()) : stats.tokens());
  hessian.matrix = (stats.gram() * (2.0 / count)).to(device);
  if (stats.has_wide_sums()) {
    const double by_count = static_cast<double>(stats.tokens()) / count;
    hessian.wide = (stats.wide_hessian() * by_count).to(device);
  } else {
    hessian.noise = kFloatNoise;
  }
  auto diagonal = hessian.matrix.diagonal();
  // Beside a huge input a small one's square may vanish from the float32 matrix; it is not dead.
  hessian.dead = published ? diagonal == 0 : stats.dead().to(device);
  if (published) {
    diagonal.masked_fill_(hessian.dead, 1.0);
    if (hessian.wide.defined()) hessian.wide.diagonal().masked_fill_(hessian.dead, 1.0);
  }
  hessian.mean = diagonal.mean(0, false, at::kDouble).item<double>();
  hessian.unit = stats.scale() * stats.scale();
  return hessian;
}

HessianFactor factor_hessian(const Hessian& hessian, double damping) {
  HessianFactor made;
  const auto damped = [&](torch::Dtype dtype, double share) {
    const bool wide = dtype == at::kDouble && hessian.wide.defined();
    auto matrix = (wide ? hessian.wide : hessian.matrix).to(dtype, false, /*copy=*/true);
    auto diagonal = matrix.diagonal();
    diagonal.add_(share * hessian.mean);
    // A dead column without damping: any positive number, it is tied to no other column. One so
    // small that the column's error does not count.
    diagonal.masked_fill_(diagonal == 0, std::ldexp(hessian.mean > 0 ? hessian.mean : 1.0, -40));
    return matrix;
  };
  const auto attempt_factor = [&](torch::Dtype dtype, double share) {
    const char* precision = dtype == at::kFloat ? "float32" : "float64";
    const auto matrix = damped(dtype, share);
    auto upper = upper_factor(matrix);
    const double least = dtype == at::kFloat ? kSmallestPivot : hessian.noise;
    if (upper.defined() && smallest_pivot(upper, matrix) < least) {
      made.rungs.push_back(attempt(share, precision, "pivots too small for the precision"));
      return false;
    }
    made.rungs.push_back(
        attempt(share, precision, upper.defined() ? "positive definite" : "not positive definite"));
    made.upper = upper;
    made.damping = share;
    return upper.defined();
  };
  const bool first = attempt_factor(at::kFloat, damping);
  if (first) {
    made.rungs.clear();  // nothing to tell
    return made;
  }
  if (attempt_factor(at::kDouble, damping)) return made;
  for (double share = std::max(damping * 10, 1e-4); share <= 1.0 + 1e-9; share *= 10) {
    if (attempt_factor(at::kDouble, share)) return made;
  }
  auto matrix = damped(at::kDouble, std::max(damping, 1.0));
  auto diagonal = matrix.diagonal();
  const double floor = diagonal.abs().max().item<double>();
  diagonal.copy_(diagonal.clamp_min(floor));
  made.upper = upper_factor(matrix);
  made.damping = std::max(damping, 1.0);
  made.rungs.push_back(c10::str(
      "diagonal at least ", floor,
      " in float64: ", made.upper.defined() ? "positive definite" : "not positive definite"));
  return made;
}

}  // namespace cupel
