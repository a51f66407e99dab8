#include "cupel/core/tiled.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/CPUBlas.h>
#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/large_tensor.h"
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

namespace {

struct GramTile {
  int64_t row, column, high, wide;
};

// Tiles that cover the upper triangle. Away from the diagonal they are large, because a BLAS first
// arranges what it reads of both sides anew; along it small, because half of such a tile is wasted.
std::vector<GramTile> gram_tiles(int64_t n) {
  const int64_t side = even_tile(n), high = n >= 2048 ? 2 * side : side;
  const int64_t most = n >= 2048 ? 4 * kTile : 3 * kTile;
  std::vector<GramTile> tiles;
  const auto add = [&](int64_t row, int64_t column, int64_t rows, int64_t columns) {
    rows = std::min(rows, n - row);
    columns = std::min(columns, n - column);
    if (rows > 0 && columns > 0) tiles.push_back({row, column, rows, columns});
  };
  for (int64_t row = 0; row < n; row += high) {
    for (int64_t top = row; top < row + high; top += side) {
      const int64_t half = side / 2;
      add(top, top, half, row + high - top);
      add(top + half, top + half, side - half, row + high - top - half);
    }
    const int64_t first = row + high, left = n - first;
    const int64_t parts = (left + most - 1) / most;
    if (left <= 0) continue;
    const int64_t wide = ((left + parts - 1) / parts + 15) / 16 * 16;
    for (int64_t column = first; column < n; column += wide) add(row, column, high, wide);
  }
  // The largest come first, so that threads end together.
  std::stable_sort(tiles.begin(), tiles.end(), [](const GramTile& a, const GramTile& b) {
    return a.high * a.wide > b.high * b.wide;
  });
  return tiles;
}

// Products of bfloat16 are exact in float32, where the processor adds them up.
constexpr int64_t kSide = 128;   // of a tile
constexpr int64_t kDepth = 512;  // rows of x whose products are added at a time

bool has_bfloat16_products() {
  static const bool has = at::native::cpublas::could_pack(at::kBFloat16);
  return has;
}

void bfloat16_gram_(const torch::Tensor& gram, const torch::Tensor& x, double alpha) {
  namespace blas = at::native::cpublas;
  const int64_t n = gram.size(0), even = (x.size(0) + 1) / 2 * 2;
  const int64_t tokens = x.size(0), strips = (n + kSide - 1) / kSide;
  // The columns of x as the left side of a product takes them, and as the right side does: two rows
  // interleaved. An odd row at the end gets a partner of zeros.
  auto left = at::empty({n, even}, x.options());
  auto right = at::empty({strips, even * kSide}, x.options());
  const auto padded = even == tokens ? x : at::constant_pad_nd(x, {0, 0, 0, 1});
  const auto* from = padded.const_data_ptr<at::BFloat16>();
  auto* packed = right.mutable_data_ptr<at::BFloat16>();
  for_each_tile(strips, [&](int64_t strip) {
    const int64_t column = strip * kSide, wide = std::min(kSide, n - column);
    left.slice(0, column, column + wide).copy_(padded.slice(1, column, column + wide).t());
    at::BFloat16* to = packed + strip * even * kSide;
    for (int64_t k = 0; k < even; k += 2, to += 2 * wide) {
      const at::BFloat16* pair = from + k * n + column;
      for (int64_t j = 0; j < wide; ++j) {
        to[2 * j] = pair[j];
        to[2 * j + 1] = pair[n + j];
      }
    }
  });
  const auto* rows = left.const_data_ptr<at::BFloat16>();
  float* sums = gram.mutable_data_ptr<float>();
  const int64_t stride = gram.stride(0);
  // Row of tiles by row of tiles, from the longest to the shortest.
  parallel_for(
      strips, 1,
      [&](int64_t strip, int64_t) {
        std::vector<float> tile(kSide * kSide);
        const int64_t row = strip * kSide, high = std::min(kSide, n - row);
        for (int64_t other = strip; other < strips; ++other) {
          const int64_t column = other * kSide, wide = std::min(kSide, n - column);
          for (int64_t k = 0; k < even; k += kDepth) {
            blas::brgemm(high, wide, std::min(kDepth, even - k), even, wide, wide, k > 0,
                         rows + row * even + k, packed + other * even * kSide + k * wide,
                         tile.data(), true);
          }
          for (int64_t i = 0; i < high; ++i) {
            float* to = sums + (row + i) * stride + column;
            for (int64_t j = 0; j < wide; ++j) {
              to[j] += static_cast<float>(alpha) * tile[i * wide + j];
            }
          }
        }
        blas::brgemm_release(true);
      },
      Team::always);
}

}  // namespace

void tiled_gram_(const torch::Tensor& gram, const torch::Tensor& x, double alpha) {
  if (!gram.is_cpu()) {
    gram.addmm_(x.t(), x, 1.0, alpha);
    return;
  }
  if (x.scalar_type() == at::kBFloat16 && gram.scalar_type() == at::kFloat &&
      has_bfloat16_products()) {
    bfloat16_gram_(gram, x.contiguous(), alpha);
    return;
  }
  const int64_t n = gram.size(0);
  const auto all = with_rows_apart(x.to(gram.scalar_type()));
  const auto tiles = gram_tiles(n);
  for_each_tile(static_cast<int64_t>(tiles.size()), [&](int64_t number) {
    const auto [row, column, high, wide] = tiles[number];
    gram.slice(0, row, row + high)
        .slice(1, column, column + wide)
        .addmm_(all.slice(1, row, row + high).t(), all.slice(1, column, column + wide), 1.0, alpha);
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
