#pragma once

#include <torch/types.h>

#include "cupel/checkpoint/packing.h"

namespace cupel {

/// A linear layer y = x W^T + b, with what compression made of its weight.
class Linear {
 public:
  Linear() = default;
  explicit Linear(torch::Tensor weight, torch::Tensor bias = {});

  const torch::Tensor& weight() const { return weight_; }  ///< [out, in]
  const torch::Tensor& bias() const { return bias_; }      ///< [out] or undefined

  /// [out, in] bool, true = keep; undefined when the weight was never pruned, or was changed
  /// since, in place or otherwise.
  torch::Tensor mask() const;
  /// Grid codes of the weight; undefined under the same conditions.
  Quantized quantized() const;

  /// Replaces the weight and drops mask and codes.
  void set_weight(torch::Tensor weight);
  /// Replaces the weight together with its mask and codes (either may be undefined).
  void set_compressed(torch::Tensor weight, torch::Tensor mask, Quantized quantized);

  torch::Tensor forward(const torch::Tensor& x) const;  ///< [..., in] -> [..., out]
  /// The same by the fastest product there is, for evaluation: last bits may differ from forward()'s.
  torch::Tensor infer(const torch::Tensor& x) const;
  torch::Tensor infer_silu(const torch::Tensor& x) const;  ///< silu(infer(x))
  /// infer(x) * other and infer(x) + other
  torch::Tensor infer_times(const torch::Tensor& x, const torch::Tensor& other) const;
  torch::Tensor infer_plus(const torch::Tensor& x, const torch::Tensor& other) const;

 private:
  bool unchanged() const;

  torch::Tensor weight_, bias_, mask_;
  Quantized quantized_;
  uint64_t version_ = 0;  // of weight_'s memory when mask_ and quantized_ were set
};

}  // namespace cupel
