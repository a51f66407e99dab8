#include "model/row_kernels.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cupel/core/parallel.h"
#include "model/rms_norm.h"
#include "model/rotary.h"
#include "model/vector_math.h"

namespace cupel {

namespace {

constexpr int64_t kLanes = 16;  // partial results, so that the order of sums is the same everywhere

inline float wide(float x) { return x; }
inline float wide(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

inline void narrow(float x, float& to) { to = x; }
inline void narrow(float x, uint16_t& to) { to = bfloat16_bits(x); }

// The bits of a bfloat16 tensor, or floats.
template <typename Element>
const Element* data_of(const torch::Tensor& x) {
  return static_cast<const Element*>(x.const_data_ptr());
}

template <typename Element>
Element* data_to(const torch::Tensor& x) {
  return static_cast<Element*>(x.mutable_data_ptr());
}

template <typename Element>
inline __attribute__((always_inline)) void norm_row(const Element* x, const Element* weight,
                                                    Element* to, int64_t size, float eps) {
  float sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) sums[k] += wide(x[j + k]) * wide(x[j + k]);
  }
  float total = 0;
  for (int64_t k = 0; k < kLanes; ++k) total += sums[k];
  for (; j < size; ++j) total += wide(x[j]) * wide(x[j]);
  const float factor = 1.0f / std::sqrt(total / static_cast<float>(size) + eps);
  for (j = 0; j < size; ++j) narrow(wide(x[j]) * factor * wide(weight[j]), to[j]);
}

CUPEL_CLONES
void norm_rows(const float* x, const float* weight, float* to, int64_t rows, int64_t size,
               float eps) {
  for (int64_t i = 0; i < rows; ++i) norm_row(x + i * size, weight, to + i * size, size, eps);
}

CUPEL_CLONES
void norm_rows(const uint16_t* x, const uint16_t* weight, uint16_t* to, int64_t rows, int64_t size,
               float eps) {
  for (int64_t i = 0; i < rows; ++i) norm_row(x + i * size, weight, to + i * size, size, eps);
}

// One head at one position.
template <typename Element>
inline __attribute__((always_inline)) void rotate_one(const Element* x, const Element* cos,
                                                      const Element* sin, Element* to,
                                                      int64_t half) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = wide(x[j]), b = wide(x[half + j]), c = wide(cos[j]), s = wide(sin[j]);
    narrow(a * c - b * s, to[j]);
    narrow(b * c + a * s, to[half + j]);
  }
}

// Heads of one position, `step` elements apart in the result.
CUPEL_CLONES
void rotate_heads(const float* x, const float* cos, const float* sin, float* to, int64_t heads,
                  int64_t half, int64_t step) {
  for (int64_t h = 0; h < heads; ++h) rotate_one(x + h * 2 * half, cos, sin, to + h * step, half);
}

CUPEL_CLONES
void rotate_heads(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, uint16_t* to,
                  int64_t heads, int64_t half, int64_t step) {
  for (int64_t h = 0; h < heads; ++h) rotate_one(x + h * 2 * half, cos, sin, to + h * step, half);
}

CUPEL_CLONES
float largest_of(const float* row, int64_t size) {
  float tops[kLanes];
  for (int64_t k = 0; k < kLanes; ++k) tops[k] = -std::numeric_limits<float>::infinity();
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) tops[k] = row[j + k] > tops[k] ? row[j + k] : tops[k];
  }
  float top = tops[0];
  for (int64_t k = 1; k < kLanes; ++k) top = tops[k] > top ? tops[k] : top;
  for (; j < size; ++j) top = row[j] > top ? row[j] : top;
  return top;
}

CUPEL_CLONES
double sum_of_exponentials(const float* row, int64_t size, float largest) {
  constexpr int64_t piece = 64 * kLanes;  // float32 sums stay short
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += piece) {
    const int64_t end = std::min(size, begin + piece);
    float sums[kLanes] = {};
    int64_t j = begin;
    for (; j + kLanes <= end; j += kLanes) {
      for (int64_t k = 0; k < kLanes; ++k) sums[k] += fast_exp(row[j + k] - largest);
    }
    for (int64_t k = 0; k < kLanes; ++k) total += static_cast<double>(sums[k]);
    for (; j < end; ++j) total += static_cast<double>(fast_exp(row[j] - largest));
  }
  return total;
}

template <typename Element>
torch::Tensor norm(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  const auto from = x.contiguous(), scale = weight.contiguous();
  auto made = at::empty_like(from);
  const int64_t size = x.size(-1);
  parallel_for(x.numel() / size, 64, [&](int64_t begin, int64_t end) {
    norm_rows(data_of<Element>(from) + begin * size, data_of<Element>(scale),
              data_to<Element>(made) + begin * size, end - begin, size, static_cast<float>(eps));
  });
  return made;
}

template <typename Element>
torch::Tensor rotated(const torch::Tensor& x, int64_t heads, const torch::Tensor& cos,
                      const torch::Tensor& sin) {
  const auto from = x.contiguous(), c = cos.contiguous(), s = sin.contiguous();
  const int64_t length = x.size(1), d = cos.size(1);
  auto made = at::empty({1, heads, length, d}, x.options());
  parallel_for(length, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      rotate_heads(data_of<Element>(from) + t * heads * d, data_of<Element>(c) + t * d,
                   data_of<Element>(s) + t * d, data_to<Element>(made) + t * d, heads, d / 2,
                   length * d);
    }
  });
  return made;
}

bool fits(const torch::Tensor& x, std::initializer_list<torch::Tensor> others) {
  const auto dtype = x.scalar_type();
  return x.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16) &&
         std::all_of(others.begin(), others.end(),
                     [&](const torch::Tensor& other) { return other.scalar_type() == dtype; });
}

}  // namespace

torch::Tensor fused_rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  if (!fits(x, {weight})) return rms_norm(x, weight, eps);
  return x.scalar_type() == at::kFloat ? norm<float>(x, weight, eps)
                                       : norm<uint16_t>(x, weight, eps);
}

torch::Tensor fused_rotate(const torch::Tensor& x, int64_t heads, const torch::Tensor& cos,
                           const torch::Tensor& sin) {
  if (!fits(x, {cos, sin})) {
    return rotate(x.view({1, x.size(1), heads, cos.size(1)}).transpose(1, 2), cos, sin);
  }
  return x.scalar_type() == at::kFloat ? rotated<float>(x, heads, cos, sin)
                                       : rotated<uint16_t>(x, heads, cos, sin);
}

RowMaxima row_maxima(const torch::Tensor& logits) {
  if (!logits.is_cpu() || logits.scalar_type() != at::kFloat) {
    const auto [largest, index] = logits.max(1);
    const auto wide_logits = logits.to(at::kDouble) - largest.to(at::kDouble).unsqueeze(1);
    return {largest.to(at::kFloat).cpu(), index.cpu(), wide_logits.exp().sum(1).cpu()};
  }
  const auto from = logits.contiguous();
  const int64_t rows = logits.size(0), size = logits.size(1);
  RowMaxima made{at::empty({rows}, at::kFloat), at::empty({rows}, at::kLong),
                 at::empty({rows}, at::kDouble)};
  parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = from.const_data_ptr<float>() + i * size;
      const float top = largest_of(row, size);
      const float* found = std::find(row, row + size, top);
      made.largest.mutable_data_ptr<float>()[i] = top;
      made.index.mutable_data_ptr<int64_t>()[i] = found == row + size ? 0 : found - row;
      made.sum.mutable_data_ptr<double>()[i] = sum_of_exponentials(row, size, top);
    }
  });
  return made;
}

}  // namespace cupel
