#include "cupel/core/tiled.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "cupel/core/parallel.h"

namespace cupel {

namespace {

// Large enough for a BLAS to work at its full rate, small enough to deal out evenly.
constexpr int64_t kTile = 256;

// The width of tiles that share `size` evenly: a last tile of a few rows would be computed by another
// kernel of the BLAS, and a row's bytes would depend on where it stands.
int64_t even_tile(int64_t size) {
  const int64_t tiles = std::max<int64_t>(1, (size + kTile - 1) / kTile);
  const int64_t width = (size + tiles - 1) / tiles;
  return std::max<int64_t>(1, (width + 15) / 16 * 16);
}

// Runs body(tile) for each tile. Worker threads are not in the caller's inference mode, so the
// products go below the dispatch keys that would ask.
template <typename Body>
void for_each_tile(int64_t tiles, const Body& body) {
  parallel_for(
      tiles, 1,
      [&](int64_t tile, int64_t) {
        const at::AutoDispatchBelowADInplaceOrView guard;
        body(tile);
      },
      Team::always);
}

}  // namespace

void tiled_addmm_(const torch::Tensor& out, const torch::Tensor& a, const torch::Tensor& b,
                  double alpha) {
  if (!out.is_cpu()) {
    out.addmm_(a, b, 1.0, alpha);
    return;
  }
  const int64_t rows = out.size(0), columns = out.size(1);
  const int64_t high = even_tile(rows), wide = even_tile(columns);
  const int64_t across = (columns + wide - 1) / wide;
  const int64_t tiles = (rows + high - 1) / high * across;
  for_each_tile(tiles, [&](int64_t tile) {
    const int64_t row = tile / across * high, column = tile % across * wide;
    out.slice(0, row, row + high)
        .slice(1, column, column + wide)
        .addmm_(a.slice(0, row, row + high), b.slice(1, column, column + wide), 1.0, alpha);
  });
}

torch::Tensor tiled_matmul(const torch::Tensor& a, const torch::Tensor& b) {
  auto out = at::zeros({a.size(0), b.size(1)}, a.options());
  tiled_addmm_(out, a, b);
  return out;
}

void tiled_gram_(const torch::Tensor& gram, const torch::Tensor& x) {
  if (!gram.is_cpu()) {
    gram.addmm_(x.t(), x);
    return;
  }
  const int64_t n = gram.size(0), width = even_tile(n);
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (int64_t row = 0; row < n; row += width) {
    for (int64_t column = row; column < n; column += width) tiles.emplace_back(row, column);
  }
  for_each_tile(static_cast<int64_t>(tiles.size()), [&](int64_t tile) {
    const auto [row, column] = tiles[tile];
    gram.slice(0, row, row + width)
        .slice(1, column, column + width)
        .addmm_(x.slice(1, row, row + width).t(), x.slice(1, column, column + width));
  });
}

namespace {

template <typename Scalar>
void mirror(Scalar* data, int64_t n, int64_t stride) {
  constexpr int64_t kSide = 32;  // both blocks stay in the first-level cache
  parallel_for(n, kSide, [&](int64_t begin, int64_t end) {
    for (int64_t left = 0; left < end; left += kSide) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t last = std::min(i, left + kSide);
        for (int64_t j = left; j < last; ++j) data[i * stride + j] = data[j * stride + i];
      }
    }
  });
}

}  // namespace

void mirror_upper_(const torch::Tensor& matrix) {
  const int64_t n = matrix.size(0), stride = matrix.stride(0);
  if (matrix.is_cpu() && matrix.stride(1) == 1 && matrix.scalar_type() == at::kFloat) {
    return mirror(matrix.mutable_data_ptr<float>(), n, stride);
  }
  if (matrix.is_cpu() && matrix.stride(1) == 1 && matrix.scalar_type() == at::kDouble) {
    return mirror(matrix.mutable_data_ptr<double>(), n, stride);
  }
  matrix.copy_(matrix.triu() + matrix.triu(1).t());
}

}  // namespace cupel
