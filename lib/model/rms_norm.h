#pragma once

#include <ATen/Functions.h>
#include <torch/types.h>

namespace cupel {

/// x / sqrt(mean(x^2) + eps) * weight: normalised in float32, rounded to x's dtype, then scaled
/// (transformers' order, which matters in 16 bits).
inline torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps) {
  const auto wide = x.to(torch::kFloat32);
  auto normed = (wide * at::rsqrt(wide.pow(2).mean(-1, true) + eps)).to(x.scalar_type());
  return weight.scalar_type() == x.scalar_type() ? normed.mul_(weight) : weight * normed;
}

}  // namespace cupel
