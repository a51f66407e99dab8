#include "model/fast_linear.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/types.h>

namespace cupel {

namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using Pointwise = at::Tensor(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, c10::string_view operation,
                             Scalars scalars, std::optional<c10::string_view> algorithm);

// torch's operator over oneDNN's inner product; it is registered where torch is built with oneDNN.
std::optional<c10::TypedOperatorHandle<Pointwise>> find_operator() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found || !at::hasMKLDNN()) return std::nullopt;
  return found->typed<Pointwise>();
}

}  // namespace

torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias) {
  static const auto product = find_operator();
  const std::optional<at::Tensor> added =
      bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  const bool here = x.is_cpu() && x.scalar_type() == at::kFloat &&
                    weight.scalar_type() == at::kFloat && weight.is_contiguous() && x.numel() > 0;
  if (!product || !here || !at::globalContext().userEnabledMkldnn()) {
    return at::linear(x, weight, added);
  }
  return product->call(x.contiguous(), weight, added, "none", Scalars(), "");
}

}  // namespace cupel
