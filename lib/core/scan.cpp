// Floats are looked at as integers: without the sign their order is the same, NaN comes last, and a
// thread that flushes denormal numbers sees them all the same.
#include "core/scan.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "core/clones.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

constexpr int64_t kChunk = 1 << 16;

bool plain(const torch::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  return tensor.is_cpu() && tensor.is_contiguous() &&
         (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
}

// The largest without the sign.
template <typename Bits>
inline __attribute__((always_inline)) Bits largest_in(const Bits* data, int64_t size) {
  constexpr Bits kSize = std::numeric_limits<Bits>::max();
  Bits most = 0;
  for (int64_t i = 0; i < size; ++i) {
    const Bits bits = data[i] & kSize;
    most = bits > most ? bits : most;
  }
  return most;
}

CUPEL_CLONES int32_t largest_of(const int32_t* data, int64_t size) {
  return largest_in(data, size);
}
CUPEL_CLONES int16_t largest_of(const int16_t* data, int64_t size) {
  return largest_in(data, size);
}

template <typename Bits>
inline __attribute__((always_inline)) int32_t zeros_in(const Bits* data, int64_t size) {
  constexpr Bits kSize = std::numeric_limits<Bits>::max();
  int32_t count = 0;
  for (int64_t i = 0; i < size; ++i) count += (data[i] & kSize) == 0;
  return count;
}

CUPEL_CLONES int32_t zeros_of(const int32_t* data, int64_t size) { return zeros_in(data, size); }
CUPEL_CLONES int32_t zeros_of(const int16_t* data, int64_t size) { return zeros_in(data, size); }
CUPEL_CLONES int32_t zeros_of(const int8_t* data, int64_t size) { return zeros_in(data, size); }

// of_chunk(entries, how many) for each chunk.
template <typename Bits, typename OfChunk>
auto scan(const torch::Tensor& tensor, const OfChunk& of_chunk) {
  const auto* data = static_cast<const Bits*>(tensor.const_data_ptr());
  const int64_t size = tensor.numel();
  std::vector<decltype(of_chunk(data, size))> parts((size + kChunk - 1) / kChunk);
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    parts[begin / kChunk] = of_chunk(data + begin, end - begin);
  });
  return parts;
}

// The float of these bits; infinity beyond what is finite.
template <typename Float, typename Bits>
double magnitude(Bits bits) {
  Float value;
  std::memcpy(&value, &bits, sizeof(bits));
  const double wide = static_cast<double>(static_cast<float>(value));
  return wide <= std::numeric_limits<float>::max() ? wide : std::numeric_limits<double>::infinity();
}

template <typename Float, typename Bits>
double largest(const torch::Tensor& tensor) {
  const auto parts =
      scan<Bits>(tensor, [](const Bits* data, int64_t size) { return largest_of(data, size); });
  return magnitude<Float>(*std::max_element(parts.begin(), parts.end()));
}

// of.operator()<Float, Bits>() for the dtype of a plain tensor.
template <typename Of>
auto by_dtype(const torch::Tensor& tensor, const Of& of) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return of.template operator()<float, int32_t>();
    case at::kHalf:
      return of.template operator()<at::Half, int16_t>();
    default:
      return of.template operator()<at::BFloat16, int16_t>();
  }
}

template <typename Bits>
int64_t zeros(const torch::Tensor& tensor) {
  const auto parts =
      scan<Bits>(tensor, [](const Bits* data, int64_t size) { return zeros_of(data, size); });
  return std::accumulate(parts.begin(), parts.end(), int64_t{0});
}

template <typename Float, typename Bits>
Magnitudes both(const torch::Tensor& tensor) {
  const auto parts = scan<Bits>(tensor, [](const Bits* data, int64_t size) {
    return std::pair(largest_of(data, size), zeros_of(data, size));
  });
  Bits most = 0;
  int64_t count = 0;
  for (const auto& [largest, zeros] : parts) {
    most = std::max(most, largest);
    count += zeros;
  }
  return {magnitude<Float>(most), count};
}

}  // namespace

double largest_magnitude(const torch::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  if (!plain(tensor)) {
    const double value = tensor.abs().max().to(at::kDouble).item<double>();
    return value <= std::numeric_limits<double>::max() ? value
                                                       : std::numeric_limits<double>::infinity();
  }
  return by_dtype(tensor,
                  [&]<typename Float, typename Bits>() { return largest<Float, Bits>(tensor); });
}

int64_t count_zeros(const torch::Tensor& tensor) {
  if (tensor.scalar_type() == at::kBool && tensor.is_cpu() && tensor.is_contiguous()) {
    return zeros<int8_t>(tensor);
  }
  if (!plain(tensor)) return (tensor == 0).sum().item<int64_t>();
  return tensor.scalar_type() == at::kFloat ? zeros<int32_t>(tensor) : zeros<int16_t>(tensor);
}

Magnitudes magnitudes(const torch::Tensor& tensor) {
  if (tensor.numel() == 0 || !plain(tensor)) {
    return {largest_magnitude(tensor), count_zeros(tensor)};
  }
  return by_dtype(tensor,
                  [&]<typename Float, typename Bits>() { return both<Float, Bits>(tensor); });
}

}  // namespace cupel
