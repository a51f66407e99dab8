#include "cupel/model/linear.h"

#include "cupel/core/check.h"
#include "model/fast_linear.h"

namespace cupel {

Linear::Linear(torch::Tensor weight, torch::Tensor bias)
    : weight_(std::move(weight)), bias_(std::move(bias)) {
  check(weight_.dim() == 2, "Linear", "a weight has two dimensions. Got ", weight_.sizes(), ".");
  check(!bias_.defined() || (bias_.dim() == 1 && bias_.size(0) == weight_.size(0)), "Linear",
        "a bias has one entry for each output. Got weight ", weight_.sizes(), ".");
}

// The version counter moves with every in-place change of the weight's memory, also one made
// through the tensor that state_dict() hands out.
bool Linear::unchanged() const { return version_ == weight_._version(); }

torch::Tensor Linear::mask() const { return unchanged() ? mask_ : torch::Tensor(); }

Quantized Linear::quantized() const { return unchanged() ? quantized_ : Quantized{}; }

void Linear::set_weight(torch::Tensor weight) { set_compressed(std::move(weight), {}, {}); }

void Linear::set_compressed(torch::Tensor weight, torch::Tensor mask, Quantized quantized) {
  check(weight.sizes() == weight_.sizes(), "Linear", "a new weight keeps the shape. Got ",
        weight.sizes(), " for ", weight_.sizes(), ".");
  weight_ = std::move(weight);
  mask_ = std::move(mask);
  quantized_ = std::move(quantized);
  version_ = weight_._version();
}

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return any_linear(x, weight_, bias_);
}

torch::Tensor Linear::infer(const torch::Tensor& x) const { return fast_linear(x, weight_, bias_); }

torch::Tensor Linear::infer_silu(const torch::Tensor& x) const {
  return fast_linear_silu(x, weight_, bias_);
}

torch::Tensor Linear::infer_times(const torch::Tensor& x, const torch::Tensor& other) const {
  return fast_linear_times(x, weight_, bias_, other);
}

torch::Tensor Linear::infer_plus(const torch::Tensor& x, const torch::Tensor& other) const {
  return fast_linear_plus(x, weight_, bias_, other);
}

}  // namespace cupel
