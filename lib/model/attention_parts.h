#pragma once

#include <torch/types.h>

#include <cstdint>

namespace cupel {

/// Attention of some queries over some of the keys that they see.
struct AttentionPart {
  torch::Tensor out;  ///< [heads, queries, head_dim], in the queries' dtype or float32
  torch::Tensor lse;  ///< log of the sum of exponentials, float32 [heads, queries]
};

/// q [heads, queries, head_dim], k and v [key_value_heads, keys, head_dim]. `causal`: query i sees
/// keys 0 .. i; otherwise all of them.
AttentionPart attention_part(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                             bool causal);

/// Puts parts over disjoint keys together: out = sum_p exp(lse_p - lse) out_p.
class AttentionParts {
 public:
  explicit AttentionParts(const torch::Tensor& q);
  /// The first part of the queries from `begin` on; every query has one.
  void set(int64_t begin, const AttentionPart& part);
  /// One more part of theirs.
  void merge(int64_t begin, const AttentionPart& part);
  /// [queries, heads * head_dim] in the queries' dtype
  torch::Tensor result() const;

 private:
  torch::Tensor out_;  // float32 [queries, heads, head_dim]
  torch::Tensor lse_;  // float32 [queries, heads]
  torch::Dtype dtype_;
};

}  // namespace cupel
