#include "model/attention_parts.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "model/tiled_attention.h"

namespace cupel {

namespace {

// By the definition, for devices whose fused kernels do not hand out their log-sum-exp alike.
AttentionPart plain_part(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                         bool causal) {
  const int64_t repeat = q.size(0) / k.size(0);
  const auto wide = [&](const torch::Tensor& x) {
    return x.to(at::kFloat).repeat_interleave(repeat, 0);
  };
  auto scores = at::matmul(q.to(at::kFloat), wide(k).transpose(1, 2)) /
                std::sqrt(static_cast<double>(q.size(2)));
  if (causal) {
    const auto seen = at::ones({q.size(1), k.size(1)}, scores.options().dtype(at::kBool)).tril();
    scores.masked_fill_(seen.logical_not(), -std::numeric_limits<float>::infinity());
  }
  const auto lse = at::logsumexp(scores, {2});
  return {at::matmul((scores - lse.unsqueeze(2)).exp(), wide(v)).to(q.scalar_type()), lse};
}

}  // namespace

AttentionPart attention_part(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                             bool causal) {
  if (!q.is_cpu()) return plain_part(q, k, v, causal);
  if (can_tile_attention(q, k) && v.stride(2) == 1) return tiled_attention(q, k, v, causal);
  // One to three queries take other products, whose last bits depend on the number of threads.
  constexpr int64_t least = 4;
  const int64_t queries = q.size(1);
  if (!causal && queries < least) {
    const auto padded = at::constant_pad_nd(q, {0, 0, 0, least - queries});
    const AttentionPart part = attention_part(padded, k, v, causal);
    return {part.out.narrow(1, 0, queries), part.lse.narrow(1, 0, queries)};
  }
  const auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
      q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), 0.0, causal);
  return {out[0], lse[0]};
}

AttentionParts::AttentionParts(const torch::Tensor& q)
    : out_(at::empty({q.size(1), q.size(0), q.size(2)}, q.options().dtype(at::kFloat))),
      lse_(at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat))),
      dtype_(q.scalar_type()) {}

void AttentionParts::set(int64_t begin, const AttentionPart& part) {
  const int64_t rows = part.out.size(1);
  out_.narrow(0, begin, rows).copy_(part.out.transpose(0, 1));
  lse_.narrow(0, begin, rows).copy_(part.lse.transpose(0, 1));
}

void AttentionParts::merge(int64_t begin, const AttentionPart& part) {
  const int64_t rows = part.out.size(1);
  auto out = out_.narrow(0, begin, rows), lse = lse_.narrow(0, begin, rows);
  const auto new_lse = part.lse.transpose(0, 1), sum = at::logaddexp(lse, new_lse);
  out.mul_((lse - sum).exp_().unsqueeze(2))
      .addcmul_(part.out.transpose(0, 1).to(at::kFloat), (new_lse - sum).exp_().unsqueeze(2));
  lse.copy_(sum);
}

torch::Tensor AttentionParts::result() const { return out_.flatten(1).to(dtype_); }

}  // namespace cupel
