#include "model/row_kernels.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "model/rms_norm.h"
#include "support/catch.h"

using namespace cupel;

namespace {

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

torch::Tensor noise(at::IntArrayRef shape) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(7), at::kFloat);
}

}  // namespace

TEST_CASE("fused_rms_norm: is the formula in float64, to rounding") {
  for (const int64_t size : {1, 15, 16, 48, 512, 515}) {
    const auto x = noise({1, 7, size}) * 3, weight = noise({size});
    const auto wide = x.to(at::kDouble);
    const auto expected =
        wide / (wide.pow(2).mean(-1, true) + 1e-5).sqrt() * weight.to(at::kDouble);
    CHECK(largest_difference(fused_rms_norm(x, weight, 1e-5), expected) < 2e-5);
    const auto half_x = x.to(at::kBFloat16), half_weight = weight.to(at::kBFloat16);
    const auto w = half_x.to(at::kDouble);
    const auto exact = w / (w.pow(2).mean(-1, true) + 1e-5).sqrt() * half_weight.to(at::kDouble);
    const auto made = fused_rms_norm(half_x, half_weight, 1e-5);
    CHECK(made.scalar_type() == at::kBFloat16);
    // One rounding to 8 bits of mantissa.
    CHECK((made.to(at::kDouble) - exact)
              .abs()
              .le(exact.abs() * (1.0 / 256) + 1e-6)
              .all()
              .item<bool>());
  }
}

TEST_CASE("fused_rms_norm: a row has the same bytes alone, and other dtypes take the plain way") {
  const auto x = noise({1, 200, 96}), weight = noise({96});
  const auto all = fused_rms_norm(x, weight, 1e-6);
  for (const int64_t row : {0, 63, 64, 199}) {
    CHECK(at::equal(fused_rms_norm(x.narrow(1, row, 1), weight, 1e-6), all.narrow(1, row, 1)));
  }
  const auto half_x = x.to(at::kHalf), half_weight = weight.to(at::kHalf);
  CHECK(at::equal(fused_rms_norm(half_x, half_weight, 1e-6), rms_norm(half_x, half_weight, 1e-6)));
}

TEST_CASE("fused_rotate: turns pairs (i, i + d/2) of each head") {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const int64_t heads = 3, length = 70, d = 10;
    const auto x = noise({1, length, heads * d}).to(dtype);
    const auto angles = noise({length, d / 2}) * 2;
    const auto cos = at::cat({angles.cos(), angles.cos()}, 1).to(dtype);
    const auto sin = at::cat({angles.sin(), angles.sin()}, 1).to(dtype);
    const auto made = fused_rotate(x, heads, cos, sin);
    REQUIRE(made.sizes() == at::IntArrayRef{1, heads, length, d});
    CHECK(made.scalar_type() == dtype);
    const auto wide = x.to(at::kDouble).view({length, heads, d});
    auto expected = at::empty({heads, length, d}, at::kDouble);
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < d / 2; ++i) {
          const double a = wide[t][h][i].item<double>(), b = wide[t][h][i + d / 2].item<double>();
          const double c = cos[t][i].item<double>(), s = sin[t][i].item<double>();
          expected.index_put_({at::tensor(h), at::tensor(t), at::tensor(i)},
                              at::scalar_tensor(a * c - b * s, at::kDouble));
          expected.index_put_({at::tensor(h), at::tensor(t), at::tensor(i + d / 2)},
                              at::scalar_tensor(b * c + a * s, at::kDouble));
        }
      }
    }
    CHECK(largest_difference(made[0], expected) < (dtype == at::kBFloat16 ? 0.02 : 1e-5));
  }
}

TEST_CASE("row_maxima: largest, its first index and the sum of exponentials") {
  for (const int64_t size : {1, 5, 16, 1000, 40000}) {
    const auto logits = noise({9, size}) * 8;
    const auto made = row_maxima(logits);
    const auto [largest, index] = logits.max(1);
    CHECK(at::equal(made.largest, largest));
    CHECK(at::equal(made.index, index));
    const auto sum = (logits.to(at::kDouble) - largest.to(at::kDouble).unsqueeze(1)).exp().sum(1);
    CHECK(((made.sum - sum) / sum).abs().max().item<double>() < 3e-7);
    CHECK(at::equal(row_maxima(logits.narrow(0, 3, 1)).sum, made.sum.narrow(0, 3, 1)));
  }
  CHECK(row_maxima(at::zeros({1, 33})).index.item<int64_t>() == 0);
}

TEST_CASE("row_maxima: what is not a number is not lost") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  auto logits = at::zeros({4, 20});
  logits[0][17] = std::numeric_limits<float>::quiet_NaN();
  logits[1][3] = infinity;
  logits[2][4] = -infinity;
  logits[3].fill_(-infinity);
  const auto sum = row_maxima(logits).sum;
  CHECK(std::isnan(sum[0].item<double>()));
  CHECK(std::isnan(sum[1].item<double>()));
  CHECK(sum[2].item<double>() == Approx(19.0).epsilon(1e-6));
  CHECK(std::isnan(sum[3].item<double>()));
}
