// These steps run between a factorization's matrix products, one tile after the other, so what they
// take is waited for. Four rows are made at a time: what is read of the other rows serves all four, and
// the sums stay in registers. Tiles are padded with ones on the diagonal, so that no loop has a rest.
#include "compress/factor_tile.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>

#include "core/clones.h"

namespace cupel {

namespace {

constexpr int64_t kSide = kFactorTile;
constexpr int64_t kRows = 4;

typedef float Floats __attribute__((vector_size(64), may_alias));
typedef double Doubles __attribute__((vector_size(64), may_alias));

template <typename Vector, typename Scalar>
inline __attribute__((always_inline)) Vector& at(Scalar* row, int64_t column) {
  return *reinterpret_cast<Vector*>(row + column);
}

// U with A = U^T U in place of the upper triangle of A. Below the diagonal stands what is of no use.
template <typename Vector, typename Scalar>
inline __attribute__((always_inline)) bool factor_rows(Scalar* u, int64_t n) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Scalar);
  for (int64_t k = 0; k < n; k += kRows) {
    const int64_t first = k / kLanes * kLanes;
    Scalar* const rows = u + k * kSide;
    for (int64_t j = first; j < n; j += kLanes) {
      Vector sum[kRows];
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) sum[r] = at<Vector>(rows + r * kSide, j);
      for (int64_t i = 0; i < k; ++i) {
        const Vector right = at<Vector>(u + i * kSide, j);
        const Scalar* const left = u + i * kSide + k;
#pragma GCC unroll 4
        for (int64_t r = 0; r < kRows; ++r) sum[r] -= right * left[r];
      }
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) at<Vector>(rows + r * kSide, j) = sum[r];
    }
    for (int64_t r = 0; r < kRows; ++r) {
      Scalar* const row = rows + r * kSide;
      for (int64_t s = 0; s < r; ++s) {
        const Scalar left = rows[s * kSide + k + r];
        for (int64_t j = first; j < n; j += kLanes) {
          at<Vector>(row, j) -= at<Vector>(rows + s * kSide, j) * left;
        }
      }
      const Scalar pivot = row[k + r];
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      const Scalar root = std::sqrt(pivot);
      for (int64_t j = first; j < n; j += kLanes) at<Vector>(row, j) /= root;
    }
  }
  return true;
}

CUPEL_CLONES
bool factor(float* u, int64_t n) { return factor_rows<Floats>(u, n); }
CUPEL_CLONES
bool factor(double* u, int64_t n) { return factor_rows<Doubles>(u, n); }

// X = R^-1 from the last row up; X is zero before.
CUPEL_CLONES
void invert(const double* r, double* x, int64_t n) {
  constexpr int64_t kLanes = sizeof(Doubles) / sizeof(double);
  for (int64_t i = n - kRows; i >= 0; i -= kRows) {
    const int64_t first = i / kLanes * kLanes;
    for (int64_t j = first; j < n; j += kLanes) {
      Doubles sum[kRows] = {};
      const int64_t last = std::min(n, j + kLanes);  // X is zero to the left of its diagonal
      for (int64_t k = i + kRows; k < last; ++k) {
        const Doubles right = at<Doubles>(x + k * kSide, j);
#pragma GCC unroll 4
        for (int64_t row = 0; row < kRows; ++row) sum[row] -= right * r[(i + row) * kSide + k];
      }
#pragma GCC unroll 4
      for (int64_t row = 0; row < kRows; ++row) at<Doubles>(x + (i + row) * kSide, j) = sum[row];
    }
    for (int64_t row = i + kRows - 1; row >= i; --row) {
      double* const made = x + row * kSide;
      made[row] += 1;
      for (int64_t k = row + 1; k < i + kRows; ++k) {
        const double left = r[row * kSide + k];
        for (int64_t j = first; j < n; j += kLanes) {
          at<Doubles>(made, j) -= at<Doubles>(x + k * kSide, j) * left;
        }
      }
      const double pivot = r[row * kSide + row];
      for (int64_t j = first; j < n; j += kLanes) at<Doubles>(made, j) /= pivot;
    }
  }
}

// `n` as far as the loops above go.
int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

// Two square matrices of a thread's own: tensors would cost more than the arithmetic.
struct Scratch {
  alignas(64) std::byte first[kSide * kSide * sizeof(double)];
  alignas(64) std::byte second[kSide * kSide * sizeof(double)];
};

Scratch& scratch() {
  thread_local const auto memory = std::make_unique<Scratch>();
  return *memory;
}

template <typename Scalar>
Scalar* matrix_in(std::byte* memory) {
  return reinterpret_cast<Scalar*>(memory);
}

// each(i, j) for the upper triangle, in squares: one side of what it copies goes from row to row.
template <typename Each>
inline __attribute__((always_inline)) void in_squares(int64_t n, const Each& each) {
  constexpr int64_t kPart = 16;
  for (int64_t row = 0; row < n; row += kPart) {
    for (int64_t column = row; column < n; column += kPart) {
      const int64_t last = std::min(n, row + kPart), end = std::min(n, column + kPart);
      for (int64_t i = row; i < last; ++i) {
        for (int64_t j = std::max(i, column); j < end; ++j) each(i, j);
      }
    }
  }
}

template <typename Scalar>
bool factor_of(const torch::Tensor& tile) {
  const int64_t n = tile.size(0), all = padded(n), stride = tile.stride(0);
  Scalar* const data = tile.mutable_data_ptr<Scalar>();
  Scalar* const u = matrix_in<Scalar>(scratch().first);
  std::fill(u, u + all * kSide, Scalar(0));
  // Seen from its last corner the tile has an ordinary factor, of which R is the transpose, seen alike.
  in_squares(
      n, [&](int64_t i, int64_t j) { u[(n - 1 - j) * kSide + n - 1 - i] = data[i * stride + j]; });
  for (int64_t i = n; i < all; ++i) u[i * kSide + i] = 1;
  if (!factor(u, all)) return false;
  for (int64_t i = 0; i < n; ++i) std::fill(data + i * stride, data + i * stride + i, Scalar(0));
  in_squares(
      n, [&](int64_t i, int64_t j) { data[i * stride + j] = u[(n - 1 - j) * kSide + n - 1 - i]; });
  return true;
}

template <typename Scalar>
torch::Tensor inverse_of(const torch::Tensor& upper) {
  const int64_t n = upper.size(0), all = padded(n);
  const auto from = upper.stride(1) == 1 ? upper : upper.contiguous();
  const Scalar* data = from.const_data_ptr<Scalar>();
  double* const r = matrix_in<double>(scratch().first);
  double* const x = matrix_in<double>(scratch().second);
  std::fill(r, r + all * kSide, 0.0);
  std::fill(x, x + all * kSide, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const Scalar* row = data + i * from.stride(0);
    std::copy(row + i, row + n, r + i * kSide + i);
  }
  for (int64_t i = n; i < all; ++i) r[i * kSide + i] = 1;
  invert(r, x, all);
  auto made = at::empty({n, n}, upper.options());
  Scalar* to = made.mutable_data_ptr<Scalar>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) to[i * n + j] = static_cast<Scalar>(x[i * kSide + j]);
  }
  return made;
}

}  // namespace

bool factor_tile(const torch::Tensor& tile) {
  return tile.scalar_type() == at::kDouble ? factor_of<double>(tile) : factor_of<float>(tile);
}

torch::Tensor invert_tile(const torch::Tensor& upper) {
  return upper.scalar_type() == at::kDouble ? inverse_of<double>(upper) : inverse_of<float>(upper);
}

}  // namespace cupel
