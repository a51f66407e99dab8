// One factor serves the whole sweep: with H = R R^T and R upper triangular, R^-1 is the upper
// Cholesky factor of H^-1 that the papers' code reaches through an explicit inverse.
#include "compress/hessian_factor.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "cupel/core/parallel.h"

namespace cupel {

namespace {

// Below this share of its own diagonal a pivot has lost four of float32's seven digits.
constexpr double kSmallestPivot = 1e-4;
// What is left of a pivot after sums in float32 is not worth having below this.
constexpr double kFloatNoise = 1e-8;

std::string attempt(double damping, const char* precision, const char* outcome) {
  return c10::str("damping ", damping, " in ", precision, ": ", outcome);
}

// The smallest R_ii^2 / H_ii: what is left of a column when the later ones have explained it.
double smallest_pivot(const torch::Tensor& upper, const torch::Tensor& diagonal) {
  return (upper.diagonal().square() / diagonal).min().item<double>();
}

// The upper triangle of a symmetric matrix with rows and columns in another order.
template <typename Scalar>
torch::Tensor reordered(const torch::Tensor& matrix, const torch::Tensor& order) {
  const int64_t n = matrix.size(0), stride = matrix.stride(0);
  auto made = at::empty({n, n}, matrix.options());
  const auto places = order.contiguous();
  const int64_t* at = places.const_data_ptr<int64_t>();
  const Scalar* from = matrix.const_data_ptr<Scalar>();
  Scalar* to = made.mutable_data_ptr<Scalar>();
  parallel_for(n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = i; j < n; ++j) {
        to[i * n + j] = from[std::min(at[i], at[j]) * stride + std::max(at[i], at[j])];
      }
    }
  });
  return made;
}

torch::Tensor reordered(const torch::Tensor& matrix, const torch::Tensor& order) {
  if (!matrix.is_cpu()) {
    const auto whole = matrix.triu() + matrix.triu(1).t();
    return whole.index_select(0, order).index_select(1, order);
  }
  return matrix.scalar_type() == at::kDouble ? reordered<double>(matrix, order)
                                             : reordered<float>(matrix, order);
}

}  // namespace

Hessian make_hessian(const InputStats& stats, Rules rules, const torch::Device& device) {
  Hessian hessian;
  const bool published = rules == Rules::published;
  const auto count =
      static_cast<double>(published ? std::max<int64_t>(1, stats.sequences()) : stats.tokens());
  if (stats.has_wide_sums()) {
    const double by_count = static_cast<double>(stats.tokens()) / count;
    hessian.matrix = (stats.gram() * (2.0 / count)).to(device);
    hessian.wide = (stats.wide_hessian() * by_count).to(device);
    hessian.diagonal = hessian.matrix.diagonal().clone();
  } else {
    const auto [sums, factor] = stats.upper_gram();
    hessian.matrix = sums.to(device);  // the statistics' own memory on their own device
    hessian.factor = factor * 2.0 / count;
    hessian.diagonal = hessian.matrix.diagonal() * hessian.factor;
    hessian.noise = kFloatNoise;
  }
  // Beside a huge input a small one's square may vanish from the float32 matrix; it is not dead.
  hessian.dead = published ? hessian.diagonal == 0 : stats.dead().to(device);
  if (published) {
    hessian.diagonal.masked_fill_(hessian.dead, 1.0);
    if (hessian.wide.defined()) hessian.wide.diagonal().masked_fill_(hessian.dead, 1.0);
  }
  hessian.mean = hessian.diagonal.mean(0, false, at::kDouble).item<double>();
  hessian.unit = stats.scale() * stats.scale();
  return hessian;
}

Hessian in_order(const Hessian& hessian, const torch::Tensor& order) {
  Hessian ordered = hessian;
  ordered.matrix = reordered(hessian.matrix, order);
  ordered.diagonal = hessian.diagonal.index_select(0, order);
  ordered.dead = hessian.dead.index_select(0, order);
  if (hessian.wide.defined()) ordered.wide = reordered(hessian.wide, order);
  return ordered;
}

HessianFactor factor_hessian(const Hessian& hessian, double damping) {
  HessianFactor made;
  const auto diagonal_with = [&](torch::Dtype dtype, double share) {
    const bool wide = dtype == at::kDouble && hessian.wide.defined();
    auto diagonal =
        (wide ? hessian.wide.diagonal() : hessian.diagonal).to(dtype, false, /*copy=*/true);
    diagonal.add_(share * hessian.mean);
    // A dead column without damping: any positive number, it is tied to no other column. One so
    // small that the column's error does not count.
    diagonal.masked_fill_(diagonal == 0, std::ldexp(hessian.mean > 0 ? hessian.mean : 1.0, -40));
    return diagonal;
  };
  const auto factor_with = [&](torch::Dtype dtype, const torch::Tensor& diagonal) {
    if (dtype == at::kDouble && hessian.wide.defined()) {
      return upper_factor({.matrix = hessian.wide, .diagonal = diagonal, .dtype = dtype});
    }
    return upper_factor({hessian.matrix, hessian.factor, diagonal, dtype});
  };
  const auto keep = [&](UpperFactor&& factor, double share) {
    made.upper = factor.upper;
    made.inverses = std::move(factor.inverses);
    made.damping = share;
  };
  const auto attempt_factor = [&](torch::Dtype dtype, double share) {
    const char* precision = dtype == at::kFloat ? "float32" : "float64";
    const auto diagonal = diagonal_with(dtype, share);
    auto factor = factor_with(dtype, diagonal);
    const double least = dtype == at::kFloat ? kSmallestPivot : hessian.noise;
    const bool found = factor.upper.defined();
    if (found && smallest_pivot(factor.upper, diagonal) < least) {
      made.rungs.push_back(attempt(share, precision, "pivots too small for the precision"));
      return false;
    }
    made.rungs.push_back(
        attempt(share, precision, found ? "positive definite" : "not positive definite"));
    keep(std::move(factor), share);
    return found;
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
  auto diagonal = diagonal_with(at::kDouble, std::max(damping, 1.0));
  const double floor = diagonal.abs().max().item<double>();
  diagonal.clamp_min_(floor);
  keep(factor_with(at::kDouble, diagonal), std::max(damping, 1.0));
  made.rungs.push_back(c10::str(
      "diagonal at least ", floor,
      " in float64: ", made.upper.defined() ? "positive definite" : "not positive definite"));
  return made;
}

}  // namespace cupel
