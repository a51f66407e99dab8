// These steps run between a factorization's matrix products, one tile after the other, so what they
// take is waited for. Four rows are made at a time: what is read of the other rows serves all four, and
// the sums stay in registers. Tiles are padded with ones on the diagonal, so that no loop has a rest.
#include "compress/factor_tile.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

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

template <typename Scalar>
bool factor_of(const torch::Tensor& tile) {
  const int64_t n = tile.size(0), stride = tile.stride(0);
  Scalar* const data = tile.mutable_data_ptr<Scalar>();
  const auto memory = at::zeros({kSide, kSide}, tile.options());
  Scalar* const u = memory.mutable_data_ptr<Scalar>();
  // Seen from its last corner the tile has an ordinary factor, of which R is the transpose, seen alike.
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) u[(n - 1 - j) * kSide + n - 1 - i] = data[i * stride + j];
  }
  for (int64_t i = n; i < padded(n); ++i) u[i * kSide + i] = 1;
  if (!factor(u, padded(n))) return false;
  for (int64_t i = 0; i < n; ++i) {
    std::fill(data + i * stride, data + i * stride + i, Scalar(0));
    for (int64_t j = i; j < n; ++j) data[i * stride + j] = u[(n - 1 - j) * kSide + n - 1 - i];
  }
  return true;
}

}  // namespace

bool factor_tile(const torch::Tensor& tile) {
  return tile.scalar_type() == at::kDouble ? factor_of<double>(tile) : factor_of<float>(tile);
}

torch::Tensor invert_tile(const torch::Tensor& upper) {
  const int64_t n = upper.size(0), all = padded(n);
  const auto memory = at::zeros({2, kSide, kSide}, upper.options().dtype(at::kDouble));
  memory[0].diagonal().slice(0, n, all).fill_(1.0);
  memory[0].slice(0, 0, n).slice(1, 0, n).copy_(upper);
  double* const r = memory.mutable_data_ptr<double>();
  invert(r, r + kSide * kSide, all);
  return at::empty({n, n}, upper.options()).copy_(memory[1].slice(0, 0, n).slice(1, 0, n));
}

}  // namespace cupel
