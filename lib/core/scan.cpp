// Floats are looked at as integers: without the sign their order is the same, NaN comes last, and a
// thread that flushes denormal numbers sees them all the same.
#include "core/scan.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cupel/core/parallel.h"

namespace cupel {

namespace {

constexpr int64_t kChunk = 1 << 16;
constexpr int64_t kLanes = 16;  // entries at a time, for the compiler to take as vectors

bool plain(const torch::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  return tensor.is_cpu() && tensor.is_contiguous() &&
         (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
}

// combine(partial [kLanes], entries [kLanes]) over all entries, in chunks; then `total` of the parts.
template <typename Bits, typename Part, typename Combine, typename Total>
Part scan(const torch::Tensor& tensor, const Combine& combine, const Total& total) {
  const auto* data = static_cast<const Bits*>(tensor.const_data_ptr());
  const int64_t size = tensor.numel();
  std::vector<Part> parts((size + kChunk - 1) / kChunk, Part(0));
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    Part lanes[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t k = 0; k < kLanes; ++k) lanes[k] = combine(lanes[k], data[i + k]);
    }
    for (; i < end; ++i) lanes[0] = combine(lanes[0], data[i]);
    Part part = 0;
    for (const Part lane : lanes) part = total(part, lane);
    parts[begin / kChunk] = part;
  });
  Part all = 0;
  for (const Part part : parts) all = total(all, part);
  return all;
}

template <typename Bits>
Bits largest_bits(const torch::Tensor& tensor) {
  const auto larger = [](Bits a, Bits b) { return a > b ? a : b; };
  constexpr Bits kSize = std::numeric_limits<Bits>::max();
  return scan<Bits, Bits>(
      tensor, [&](Bits most, Bits bits) { return larger(most, static_cast<Bits>(bits & kSize)); },
      larger);
}

template <typename Float, typename Bits>
double largest(const torch::Tensor& tensor) {
  const Bits bits = largest_bits<Bits>(tensor);
  Float value;
  std::memcpy(&value, &bits, sizeof(bits));
  const double wide = static_cast<double>(static_cast<float>(value));
  return wide <= std::numeric_limits<float>::max() ? wide : std::numeric_limits<double>::infinity();
}

template <typename Bits>
int64_t zeros(const torch::Tensor& tensor) {
  constexpr Bits kSize = std::numeric_limits<Bits>::max();
  return scan<Bits, int32_t>(
      tensor, [](int32_t count, Bits bits) { return count + ((bits & kSize) == 0); },
      [](int32_t a, int32_t b) { return a + b; });
}

}  // namespace

double largest_magnitude(const torch::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  if (!plain(tensor)) {
    const double value = tensor.abs().max().to(at::kDouble).item<double>();
    return value <= std::numeric_limits<double>::max() ? value
                                                       : std::numeric_limits<double>::infinity();
  }
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return largest<float, int32_t>(tensor);
    case at::kHalf:
      return largest<at::Half, int16_t>(tensor);
    default:
      return largest<at::BFloat16, int16_t>(tensor);
  }
}

int64_t count_zeros(const torch::Tensor& tensor) {
  if (!plain(tensor) || tensor.numel() > std::numeric_limits<int32_t>::max()) {
    return (tensor == 0).sum().item<int64_t>();
  }
  return tensor.scalar_type() == at::kFloat ? zeros<int32_t>(tensor) : zeros<int16_t>(tensor);
}

}  // namespace cupel
