#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "model/attention_parts.h"
#include "model/softmax_rows.h"
#include "model/tiled_attention.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::testing::require_close;

namespace {

struct Inputs {
  torch::Tensor q, k, v;
};

// As a packed run has them: positions first in memory, heads first in shape.
Inputs inputs(int64_t heads, int64_t key_heads, int64_t queries, int64_t keys, int64_t d,
              torch::Dtype dtype = at::kFloat) {
  const auto make = [&](int64_t length, int64_t count, uint64_t seed) {
    return test::seeded_normal({length, count, d}, seed).to(dtype).transpose(0, 1);
  };
  return {make(queries, heads, 1), make(keys, key_heads, 2), make(keys, key_heads, 3)};
}

// By the definition, in float64.
AttentionPart slow(const Inputs& x, bool causal) {
  const int64_t repeat = x.q.size(0) / x.k.size(0);
  const auto wide = [&](const torch::Tensor& t) {
    return t.to(at::kDouble).repeat_interleave(repeat, 0);
  };
  auto scores = at::matmul(x.q.to(at::kDouble), wide(x.k).transpose(1, 2)) /
                std::sqrt(static_cast<double>(x.q.size(2)));
  if (causal) {
    const auto seen = at::ones({x.q.size(1), x.k.size(1)}, at::kBool).tril();
    scores.masked_fill_(seen.logical_not(), -std::numeric_limits<double>::infinity());
  }
  return {at::matmul(at::softmax(scores, -1), wide(x.v)).to(at::kFloat),
          at::logsumexp(scores, {2}).to(at::kFloat)};
}

}  // namespace

TEST_CASE("attention_part: equals the definition, tiled or not, whatever the sizes") {
  for (const auto& [heads, key_heads] : {std::pair{4, 2}, {4, 4}, {6, 1}, {32, 2}}) {
    for (const int64_t queries : {1, 3, 31, 32, 33, 64, 200, 300}) {
      for (const int64_t keys : {1, 15, 256, 257, 300, 530}) {
        INFO(heads << " heads, " << key_heads << " with keys, " << queries << " x " << keys);
        const Inputs x = inputs(heads, key_heads, queries, keys, 32);
        const auto want = slow(x, false), got = attention_part(x.q, x.k, x.v, false);
        require_close(got.out.to(at::kFloat), want.out, 2e-6);
        require_close(got.lse, want.lse, 2e-6);
      }
      const Inputs x = inputs(heads, key_heads, queries, queries, 32);
      const auto want = slow(x, true), got = attention_part(x.q, x.k, x.v, true);
      require_close(got.out.to(at::kFloat), want.out, 2e-6);
      require_close(got.lse, want.lse, 2e-6);
    }
  }
}

TEST_CASE("attention_part: bfloat16 is rounded where it enters, no more") {
  const Inputs x = inputs(4, 2, 130, 300, 64, at::kBFloat16);
  const auto want = slow(x, false), got = attention_part(x.q, x.k, x.v, false);
  require_close(got.out.to(at::kFloat), want.out, 4e-3);  // weights of 8 bits
  // Scores are float32 sums in the order of the processor's BLAS: 1.9e-5 was seen with AVX2.
  require_close(got.lse, want.lse, 5e-5);
}

TEST_CASE("attention_part: large scores stay finite, NaN stays NaN") {
  Inputs x = inputs(2, 2, 40, 40, 16);
  x.q = x.q * 1e3;
  const auto want = slow(x, true), got = attention_part(x.q, x.k, x.v, true);
  require_close(got.out, want.out, 1e-3);
  x.q[1][7][3] = std::nanf("");
  const auto spoilt = attention_part(x.q, x.k, x.v, true).out.isnan().any(-1);
  CHECK(spoilt[1][7].item<bool>());
  CHECK(spoilt.sum().item<int64_t>() == 1);
}

TEST_CASE("attention_part: the bytes do not depend on the number of threads") {
  const int before = at::get_num_threads();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs x = inputs(8, 4, 500, 500, 64, dtype);
    at::set_num_threads(1);
    const auto one = attention_part(x.q, x.k, x.v, true);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      const auto more = attention_part(x.q, x.k, x.v, true);
      CHECK(at::equal(one.out, more.out));
      CHECK(at::equal(one.lse, more.lse));
    }
  }
  at::set_num_threads(before);
}

TEST_CASE("softmax_tile and to_bfloat16: equal the library's") {
  auto scores = test::seeded_normal({5, 48}, 1) * 20;
  const auto want = at::softmax(scores.slice(1, 0, 37) * 0.5, 1);
  std::vector<int64_t> seen(5, 37);
  std::vector<float> largest(5, -std::numeric_limits<float>::infinity()), sum(5), rescale(5);
  softmax_tile(scores.mutable_data_ptr<float>(), 5, 48, 48, seen.data(), 0.5f, largest.data(),
               sum.data(), rescale.data());
  const auto sums = at::tensor(at::ArrayRef<float>(sum)).unsqueeze(1);
  require_close(scores.slice(1, 0, 37) / sums, want, 1e-6);
  CHECK(scores.slice(1, 37).eq(0).all().item<bool>());

  auto values = at::cat({test::seeded_normal({1000}, 2) * 1e3,
                         at::tensor({0.0f, -0.0f, 1e-40f, 3.4e38f,
                                     std::numeric_limits<float>::infinity(), std::nanf("")})});
  auto halves = at::empty({values.numel()}, at::kBFloat16);
  to_bfloat16(values.const_data_ptr<float>(), static_cast<uint16_t*>(halves.mutable_data_ptr()),
              values.numel());
  CHECK(at::equal(halves.slice(0, 0, -1), values.to(at::kBFloat16).slice(0, 0, -1)));
  CHECK(halves[-1].isnan().item<bool>());
}
