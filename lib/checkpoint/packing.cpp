#include "cupel/checkpoint/packing.h"

#include <algorithm>

#include "checkpoint/decode_rows.h"
#include "core/clones.h"
#include "core/large_tensor.h"
#include "core/scan.h"
#include "cupel/checkpoint/safetensors.h"
#include "cupel/core/check.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

uint64_t bytes_of_bits(int64_t values, int64_t bits) {
  return (static_cast<uint64_t>(values) * static_cast<uint64_t>(bits) + 7) / 8;
}

void check_quantized(const Quantized& q, const char* function) {
  check(q.codes.defined() && q.scales.defined() && q.zeros.defined() && q.group_index.defined(),
        function, "codes, scales, zeros and group_index are needed together.");
  check(q.bits >= 1 && q.bits <= 8, function, "bits must be between 1 and 8. Got ", q.bits, ".");
  check(q.codes.dim() == 2 && q.codes.scalar_type() == torch::kUInt8, function,
        "codes must be uint8 [out, in]. Got ", q.codes.scalar_type(), " ", q.codes.sizes(), ".");
  check(q.scales.dim() == 2 && q.scales.size(0) == q.codes.size(0) && q.scales.is_floating_point(),
        function, "scales must be floating point [out, groups]. Got ", q.scales.scalar_type(), " ",
        q.scales.sizes(), " for codes ", q.codes.sizes(), ".");
  check(q.zeros.sizes() == q.scales.sizes() && q.zeros.scalar_type() == torch::kInt32, function,
        "zeros must be int32 of the shape of scales. Got ", q.zeros.scalar_type(), " ",
        q.zeros.sizes(), " for scales ", q.scales.sizes(), ".");
  check(q.group_index.dim() == 1 && q.group_index.size(0) == q.codes.size(1) &&
            q.group_index.scalar_type() == torch::kInt32,
        function, "group_index must be int32 [in]. Got ", q.group_index.scalar_type(), " ",
        q.group_index.sizes(), " for codes ", q.codes.sizes(), ".");
}

}  // namespace

namespace {

CUPEL_CLONES
void decode(const uint8_t* codes, float zero, float scale, float* to, int64_t size) {
  for (int64_t i = 0; i < size; ++i) to[i] = (static_cast<float>(codes[i]) - zero) * scale;
}

}  // namespace

void decode_rows(const Quantized& quantized, const torch::Tensor& weight) {
  const auto codes = quantized.codes.contiguous();
  const auto scales = quantized.scales.to(torch::kFloat32).contiguous();
  const auto zeros = quantized.zeros.to(torch::kFloat32).contiguous();
  const auto index = quantized.group_index.to(torch::kInt32).contiguous();
  const int64_t rows = codes.size(0), columns = codes.size(1), groups = scales.size(1);
  float* to = weight.mutable_data_ptr<float>();
  const int32_t* group = index.const_data_ptr<int32_t>();
  parallel_for(rows, std::max<int64_t>(1, 65536 / columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* code = codes.const_data_ptr<uint8_t>() + row * columns;
      const float* scale = scales.const_data_ptr<float>() + row * groups;
      const float* zero = zeros.const_data_ptr<float>() + row * groups;
      for (int64_t i = 0; i < columns;) {
        const int32_t g = group[i];
        int64_t end = i + 1;
        while (end < columns && group[end] == g) ++end;
        decode(code + i, zero[g], scale[g], to + row * columns + i, end - i);
        i = end;
      }
    }
  });
}

torch::Tensor dequantize(const Quantized& quantized) {
  check_quantized(quantized, "dequantize");
  const auto& [codes, scales, zeros, group_index, bits] = quantized;
  if (codes.numel() == 0) return codes.to(torch::kFloat32);
  const int64_t lowest = group_index.min().item<int64_t>();
  const int64_t highest = group_index.max().item<int64_t>();
  check(lowest >= 0 && highest < scales.size(1), "dequantize", "group_index must lie in [0, ",
        scales.size(1), "). Got values from ", lowest, " to ", highest, ".");
  const int64_t largest = codes.max().item<int64_t>();
  check(largest < (int64_t{1} << bits), "dequantize", "codes must be below 2^", bits, ". Got ",
        largest, ".");
  if (codes.is_cpu()) {  // without a matrix of scales and one of zeros
    auto weight = large_empty(codes.sizes(), codes.options().dtype(torch::kFloat32));
    decode_rows(quantized, weight);
    return weight;
  }
  const auto scale = scales.to(torch::kFloat32).index_select(1, group_index);
  const auto zero = zeros.to(torch::kFloat32).index_select(1, group_index);
  return codes.to(torch::kFloat32).sub_(zero).mul_(scale);
}

uint64_t packed_bytes(const torch::Tensor& weight, const torch::Tensor& mask,
                      const Quantized& quantized, int64_t scale_bytes, bool symmetric) {
  check(weight.defined() && weight.dim() == 2, "packed_bytes", "a weight [out, in] is needed.");
  int64_t kept = weight.numel();
  uint64_t bytes = 0;
  if (mask.defined()) {
    check(mask.scalar_type() == torch::kBool && mask.sizes() == weight.sizes(), "packed_bytes",
          "mask must be bool of the weight's shape. Got ", mask.scalar_type(), " ", mask.sizes(),
          " for weight ", weight.sizes(), ".");
    kept = mask.numel() - count_zeros(mask);
    bytes += bytes_of_bits(weight.numel(), 1);
  }
  if (!quantized.defined()) {
    return bytes + checked_nbytes({kept}, weight.scalar_type(), "", "weight");
  }
  check_quantized(quantized, "packed_bytes");
  check(quantized.codes.sizes() == weight.sizes(), "packed_bytes",
        "codes must have the weight's shape. Got codes ", quantized.codes.sizes(), " for weight ",
        weight.sizes(), ".");
  check(scale_bytes >= 1, "packed_bytes", "scale_bytes must be positive. Got ", scale_bytes, ".");
  bytes += bytes_of_bits(kept, quantized.bits);
  bytes += static_cast<uint64_t>(quantized.scales.numel()) * static_cast<uint64_t>(scale_bytes);
  if (!symmetric) bytes += bytes_of_bits(quantized.zeros.numel(), quantized.bits);
  return bytes;
}

}  // namespace cupel
