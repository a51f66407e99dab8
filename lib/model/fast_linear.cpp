#include "model/fast_linear.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

namespace cupel {

namespace {

constexpr int64_t kWideNumbers = int64_t{8} << 20;  // of a weight that are wide at a time: 32 MB

using Scalars = c10::List<std::optional<at::Scalar>>;
using Bias = std::optional<at::Tensor>;
using Unary = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const Bias& bias,
                         c10::string_view operation, Scalars scalars,
                         std::optional<c10::string_view> algorithm);
using Binary = at::Tensor(const at::Tensor& x, const at::Tensor& other, const at::Tensor& weight,
                          const Bias& bias, c10::string_view operation);

// torch's operators over oneDNN's inner product; they are registered where torch is built with
// oneDNN.
template <typename Signature>
std::optional<c10::TypedOperatorHandle<Signature>> find(const char* name, const char* overload) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!found || !at::hasMKLDNN()) return std::nullopt;
  return found->typed<Signature>();
}

bool asks(const char* name) {
  const auto known = find<bool()>(name, "");
  return known && known->call();
}

bool has_bfloat16() {
  static const bool supported = asks("mkldnn::_is_mkldnn_bf16_supported");
  return supported;
}

bool has_float16() {
  static const bool supported = asks("mkldnn::_is_mkldnn_fp16_supported");
  return supported;
}

// 16 bits that this processor would take apart one by one.
bool without_units(const torch::Tensor& x, const torch::Tensor& weight) {
  const auto dtype = x.scalar_type();
  return x.is_cpu() && dtype == weight.scalar_type() &&
         ((dtype == at::kBFloat16 && !has_bfloat16()) || (dtype == at::kHalf && !has_float16()));
}

bool fits(const torch::Tensor& x, const torch::Tensor& weight) {
  const auto dtype = x.scalar_type();
  return x.is_cpu() && dtype == weight.scalar_type() && weight.is_contiguous() && x.numel() > 0 &&
         (dtype == at::kFloat || (dtype == at::kBFloat16 && has_bfloat16())) &&
         at::globalContext().userEnabledMkldnn();
}

Bias optional(const torch::Tensor& bias) { return bias.defined() ? Bias(bias) : std::nullopt; }

// Undefined where oneDNN cannot be had.
torch::Tensor unary(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                    const char* operation) {
  static const auto product = find<Unary>("mkldnn::_linear_pointwise", "");
  if (!product || !fits(x, weight)) return {};
  return product->call(x.contiguous(), weight, optional(bias), operation, Scalars(), "");
}

torch::Tensor binary(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     const torch::Tensor& other, const char* operation) {
  static const auto product = find<Binary>("mkldnn::_linear_pointwise", "binary");
  if (!product || !fits(x, weight) || other.scalar_type() != x.scalar_type()) return {};
  return product->call(x.contiguous(), other.contiguous(), weight, optional(bias), operation);
}

}  // namespace

torch::Tensor any_linear(const torch::Tensor& x, const torch::Tensor& weight,
                         const torch::Tensor& bias) {
  if (!without_units(x, weight)) return at::linear(x, weight, optional(bias));
  const int64_t out = weight.size(0), part = std::max<int64_t>(1, kWideNumbers / weight.size(1));
  const auto wide = x.to(at::kFloat);
  std::vector<torch::Tensor> parts;
  for (int64_t begin = 0; begin < out; begin += part) {
    const auto rows = [&](const torch::Tensor& y) {
      return y.defined() ? y.slice(0, begin, begin + part).to(at::kFloat) : y;
    };
    parts.push_back(fast_linear(wide, rows(weight), rows(bias)).to(x.scalar_type()));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, -1);
}

torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias) {
  const auto made = unary(x, weight, bias, "none");
  return made.defined() ? made : any_linear(x, weight, bias);
}

torch::Tensor fast_linear_silu(const torch::Tensor& x, const torch::Tensor& weight,
                               const torch::Tensor& bias) {
  const auto made = unary(x, weight, bias, "swish");
  return made.defined() ? made : at::silu(any_linear(x, weight, bias));
}

torch::Tensor fast_linear_times(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias, const torch::Tensor& other) {
  const auto made = binary(x, weight, bias, other, "mul");
  return made.defined() ? made : any_linear(x, weight, bias) * other;
}

torch::Tensor fast_linear_plus(const torch::Tensor& x, const torch::Tensor& weight,
                               const torch::Tensor& bias, const torch::Tensor& other) {
  const auto made = binary(x, weight, bias, other, "add");
  return made.defined() ? made : any_linear(x, weight, bias) + other;
}

}  // namespace cupel
