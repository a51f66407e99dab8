#include "model/tiled_attention.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/native/CPUBlas.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cupel/core/parallel.h"
#include "model/softmax_rows.h"

// Shapes, per head that holds keys: queries [R = repeat * block, d], keys and values [n, d].
namespace cupel {

namespace {

namespace blas = at::native::cpublas;

constexpr int64_t kKeys = 256;  // of a tile
constexpr int64_t kRows = 128;  // query rows of a tile, of all heads that share the keys
constexpr int64_t kLeastQueries = 32;
constexpr int64_t kStep = 16;  // sizes are rounded up to it, so that there are few kernels

int64_t rounded(int64_t size) { return (size + kStep - 1) / kStep * kStep; }

void multiply(int64_t m, int64_t n, int64_t k, int64_t ld_a, int64_t ld_b, int64_t ld_c, bool add,
              const float* a, const float* b, float* c) {
  blas::brgemm(m, n, k, ld_a, ld_b, ld_c, add, a, b, c, false);
}

void multiply(int64_t m, int64_t n, int64_t k, int64_t ld_a, int64_t ld_b, int64_t ld_c, bool add,
              const at::BFloat16* a, const at::BFloat16* b, float* c) {
  blas::brgemm(m, n, k, ld_a, ld_b, ld_c, add, a, b, c, true);
}

// b [k, n] as the kernels read it: float row by row; bfloat16 with each pair of rows interleaved.
template <typename Element>
void place(Element* packed, int64_t n, int64_t row, int64_t column, Element value) {
  if constexpr (std::is_same_v<Element, float>) {
    packed[row * n + column] = value;
  } else {
    packed[(row / 2) * 2 * n + 2 * column + row % 2] = value;
  }
}

template <typename Element>
class TiledAttention {
 public:
  TiledAttention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                 bool causal)
      : q_(q),
        k_(k),
        v_(v),
        causal_(causal),
        heads_(k.size(0)),
        repeat_(q.size(0) / k.size(0)),
        queries_(q.size(1)),
        keys_(k.size(1)),
        d_(q.size(2)),
        block_(std::max<int64_t>(kStep, kRows / repeat_)),
        tiles_((keys_ + kKeys - 1) / kKeys),
        packed_keys_(heads_ * tiles_ * kKeys * d_),
        packed_values_(heads_ * tiles_ * kKeys * d_),
        out_(at::empty({queries_, q.size(0), d_}, q.options().dtype(at::kFloat))),
        lse_(at::empty({queries_, q.size(0)}, q.options().dtype(at::kFloat))) {}

  AttentionPart run() {
    parallel_for(heads_ * tiles_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pack(i / tiles_, i % tiles_);
    });
    const int64_t blocks = (queries_ + block_ - 1) / block_;
    parallel_for(
        heads_ * blocks, 1,
        [&](int64_t begin, int64_t end) {
          // The longest rows first: what is left at the end is short.
          for (int64_t i = begin; i < end; ++i) attend(i % heads_, blocks - 1 - i / heads_);
          blas::brgemm_release(!std::is_same_v<Element, float>);
        },
        Team::always);
    return {out_.transpose(0, 1), lse_.transpose(0, 1)};
  }

 private:
  Element* tile_of(std::vector<Element>& packed, int64_t head, int64_t tile) const {
    return packed.data() + (head * tiles_ + tile) * kKeys * d_;
  }

  int64_t tile_size(int64_t tile) const { return std::min(kKeys, keys_ - tile * kKeys); }

  // Keys transposed [d, n] and values [n, d], n rounded up; what is beyond the last key is 0.
  void pack(int64_t head, int64_t tile) {
    const int64_t size = tile_size(tile), n = rounded(size);
    Element* keys = tile_of(packed_keys_, head, tile);
    Element* values = tile_of(packed_values_, head, tile);
    const auto* k =
        k_.const_data_ptr<Element>() + head * k_.stride(0) + tile * kKeys * k_.stride(1);
    const auto* v =
        v_.const_data_ptr<Element>() + head * v_.stride(0) + tile * kKeys * v_.stride(1);
    for (int64_t i = 0; i < n; ++i) {
      const Element zero(0.0f);
      for (int64_t j = 0; j < d_; ++j) {
        place(keys, n, j, i, i < size ? k[i * k_.stride(1) + j] : zero);
        place(values, d_, i, j, i < size ? v[i * v_.stride(1) + j] : zero);
      }
    }
  }

  // Queries [first, first + block) of the heads that share the keys of `head`.
  void attend(int64_t head, int64_t block) {
    const int64_t first = block * block_, size = std::min(block_, queries_ - first);
    const int64_t rows = repeat_ * size, padded = rounded(rows);
    std::vector<Element> queries(padded * d_, Element(0.0f));
    std::vector<float> scores(padded * kKeys), sums(padded * d_, 0.0f);
    std::vector<Element> weights(std::is_same_v<Element, float> ? 0 : padded * kKeys);
    std::vector<float> largest(padded, -std::numeric_limits<float>::infinity());
    std::vector<float> total(padded, 0.0f), rescale(padded);
    std::vector<int64_t> seen(padded);
    for (int64_t r = 0; r < repeat_; ++r) {
      const auto* from =
          q_.const_data_ptr<Element>() + (head * repeat_ + r) * q_.stride(0) + first * q_.stride(1);
      for (int64_t t = 0; t < size; ++t) {
        std::copy_n(from + t * q_.stride(1), d_, queries.data() + (r * size + t) * d_);
      }
    }
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d_)));
    const int64_t last = causal_ ? std::min(keys_, first + size) : keys_;
    for (int64_t tile = 0; tile * kKeys < last; ++tile) {
      const int64_t n = rounded(tile_size(tile));
      for (int64_t row = 0; row < padded; ++row) {
        const int64_t sees = causal_ ? first + row % size + 1 - tile * kKeys : keys_;
        seen[row] = std::clamp<int64_t>(sees, 0, tile_size(tile));
      }
      multiply(padded, n, d_, d_, n, n, false, queries.data(), tile_of(packed_keys_, head, tile),
               scores.data());
      softmax_tile(scores.data(), padded, n, n, seen.data(), scale, largest.data(), total.data(),
                   rescale.data());
      scale_rows(sums.data(), padded, d_, rescale.data());
      const Element* a = nullptr;
      if constexpr (std::is_same_v<Element, float>) {
        a = scores.data();
      } else {
        to_bfloat16(scores.data(), reinterpret_cast<uint16_t*>(weights.data()), padded * n);
        a = weights.data();
      }
      multiply(padded, d_, n, n, d_, d_, true, a, tile_of(packed_values_, head, tile), sums.data());
    }
    auto* out = out_.mutable_data_ptr<float>();
    auto* lse = lse_.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t at = (first + row % size) * q_.size(0) + head * repeat_ + row / size;
      for (int64_t j = 0; j < d_; ++j) out[at * d_ + j] = sums[row * d_ + j] / total[row];
      lse[at] = largest[row] + std::log(total[row]);
    }
  }

  const torch::Tensor &q_, &k_, &v_;
  bool causal_;
  int64_t heads_, repeat_, queries_, keys_, d_, block_, tiles_;
  std::vector<Element> packed_keys_, packed_values_;
  torch::Tensor out_, lse_;  // [queries, heads, d] and [queries, heads]
};

// Whether the kernels exist for this processor: they throw where they do not.
template <typename Element>
bool kernels_work() {
  try {
    const std::vector<Element> a(kStep * kStep, Element(1.0f)), b(kStep * kStep, Element(1.0f));
    std::vector<float> c(kStep * kStep);
    multiply(kStep, kStep, kStep, kStep, kStep, kStep, false, a.data(), b.data(), c.data());
    blas::brgemm_release(!std::is_same_v<Element, float>);
    return std::all_of(c.begin(), c.end(), [](float x) { return x == kStep; });
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

bool can_tile_attention(const torch::Tensor& q, const torch::Tensor& k) {
  if (!q.is_cpu() || q.size(1) < kLeastQueries || q.size(2) % kStep != 0 || q.stride(2) != 1 ||
      k.stride(2) != 1 || !at::globalContext().userEnabledMkldnn()) {
    return false;
  }
  static const bool single = kernels_work<float>(), half = kernels_work<at::BFloat16>();
  return (q.scalar_type() == at::kFloat && single) || (q.scalar_type() == at::kBFloat16 && half);
}

AttentionPart tiled_attention(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, bool causal) {
  if (q.scalar_type() == at::kFloat) return TiledAttention<float>(q, k, v, causal).run();
  return TiledAttention<at::BFloat16>(q, k, v, causal).run();
}

}  // namespace cupel
