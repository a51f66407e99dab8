#include "cupel/calibration/input_stats.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;
using cupel::testing::require_close;

namespace {

InputStats stats_of(const torch::Tensor& x, Needs needs = Needs::gram) {
  InputStats stats(x.size(-1), needs);
  stats.add(x);
  return stats;
}

}  // namespace

TEST_CASE("InputStats: sums by hand") {
  const auto x = at::tensor({1.0f, 2.0f, 0.0f,  //
                             3.0f, -4.0f, 0.0f})
                     .reshape({2, 3});
  InputStats stats(3);
  stats.add(x, 1);
  CHECK(stats.tokens() == 2);
  CHECK(stats.sequences() == 1);
  CHECK(stats.columns() == 3);
  CHECK(stats.scale() == 1.0);
  CHECK(at::equal(stats.sum(), at::tensor({4.0f, -2.0f, 0.0f})));
  CHECK(at::equal(stats.sq_norm(), at::tensor({10.0f, 20.0f, 0.0f})));
  const auto gram = at::tensor({10.0f, -10.0f, 0.0f,  //
                                -10.0f, 20.0f, 0.0f,  //
                                0.0f, 0.0f, 0.0f})
                        .reshape({3, 3});
  CHECK(at::equal(stats.gram(), gram));
  CHECK(at::equal(stats.hessian(), gram));  // 2 / 2 tokens
  CHECK(stats.dead_columns() == 1);
}

TEST_CASE("InputStats: the Gram matrix is x^T x") {
  const auto x = seeded_normal({6000, 20}, 1);  // more rows than one chunk
  const auto stats = stats_of(x);
  const auto wide = x.to(at::kDouble);
  // Float32 sums of 6000 products: relative to the diagonal of about 6000.
  require_close(stats.gram(), wide.t().matmul(wide), 6e-3);
  require_close(stats.sq_norm(), (wide * wide).sum(0), 0, 1e-6);
  require_close(stats.sum(), wide.sum(0), 1e-4);  // sums near 100, rounded to float32 at the end
  require_close(stats.hessian(), wide.t().matmul(wide) / 3000.0, 2e-6);
}

TEST_CASE("InputStats: leading dimensions are tokens, one row is one token") {
  const auto x = seeded_normal({2, 5, 4}, 2);
  CHECK(stats_of(x).tokens() == 10);
  CHECK(at::equal(stats_of(x).gram(), stats_of(x.reshape({10, 4})).gram()));
  CHECK(stats_of(x[0][0]).tokens() == 1);
  const auto transposed = seeded_normal({4, 10}, 3).t();  // not contiguous
  CHECK(at::equal(stats_of(transposed).gram(), stats_of(transposed.contiguous()).gram()));
}

TEST_CASE("InputStats: 16-bit inputs are summed in float32") {
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    const auto x = (seeded_normal({512, 16}, 3) * 300).to(dtype);  // squares leave float16
    CHECK(at::equal(stats_of(x).gram(), stats_of(x.to(at::kFloat)).gram()));
    CHECK(at::equal(stats_of(x).sq_norm(), stats_of(x.to(at::kFloat)).sq_norm()));
    CHECK(at::isfinite(stats_of(x).gram()).all().item<bool>());
  }
  const auto wide = seeded_normal({64, 8}, 4).to(at::kDouble) * 1e200;
  CHECK(at::isfinite(stats_of(wide).gram()).all().item<bool>());
}

TEST_CASE("InputStats: the batching does not matter, the same batching gives the same bits") {
  const auto x = seeded_normal({600, 24}, 5);
  const auto whole = stats_of(x);
  const auto split = [&](int64_t size) {
    InputStats stats(24);
    for (int64_t row = 0; row < 600; row += size) {
      stats.add(x.slice(0, row, std::min<int64_t>(600, row + size)));
    }
    return stats;
  };
  const double top = whole.gram().diagonal().max().item<double>();
  for (const int64_t size : {1, 7, 64, 599}) {
    CHECK(split(size).tokens() == 600);
    require_close(split(size).gram(), whole.gram(), 1e-6 * top);
    require_close(split(size).sq_norm(), whole.sq_norm(), 0, 1e-6);
    CHECK(at::equal(split(size).gram(), split(size).gram()));
  }
}

TEST_CASE("InputStats: merge equals adding everything to one") {
  const auto x = seeded_normal({90, 8}, 6);
  InputStats first = stats_of(x.slice(0, 0, 40));
  first.merge(stats_of(x.slice(0, 40, 90) * 1.0));
  CHECK(first.tokens() == 90);
  CHECK(first.sequences() == 2);
  const auto whole = stats_of(x);
  const double top = whole.gram().diagonal().max().item<double>();
  require_close(first.gram(), whole.gram(), 1e-6 * top);
  require_close(first.sum(), whole.sum(), 1e-5);

  InputStats empty(8);
  empty.merge(whole);
  CHECK(at::equal(empty.gram(), whole.gram()));
  InputStats kept = stats_of(x);
  kept.merge(InputStats(8));
  CHECK(at::equal(kept.gram(), whole.gram()));
  CHECK_THROWS_AS(kept.merge(InputStats(9)), std::invalid_argument);
  CHECK_THROWS_AS(kept.merge(InputStats(8, Needs::sum)), std::invalid_argument);

  InputStats tiny = stats_of(x * 0x1p-70);  // the other side decides the scale
  tiny.merge(stats_of(x * 0x1p70));
  CHECK(at::equal(tiny.gram(), stats_of(x * 0x1p70).gram()));
}

TEST_CASE("InputStats: inputs times a power of two change no mask and no relative error") {
  const auto x = seeded_normal({200, 32}, 7), weight = seeded_normal({12, 32}, 8);
  const Prune wanda("wanda", unstructured(0.5));
  const Rtn rtn(Grid{.bits = 3, .group = 8});
  const auto pruned = wanda.compress(weight, stats_of(x));
  const auto rounded = rtn.compress(weight, stats_of(x));
  REQUIRE(pruned.relative_error.value() > 0.01);
  for (const int k : {-60, -20, 0, 7, 60}) {
    INFO("X * 2^" << k);
    const auto stats = stats_of(x * std::ldexp(1.0, k));
    const auto again = wanda.compress(weight, stats);
    CHECK(at::equal(again.mask, pruned.mask));
    CHECK(again.relative_error.value() == pruned.relative_error.value());
    CHECK(again.loss.value() == std::ldexp(pruned.loss.value(), 2 * k));
    CHECK(rtn.compress(weight, stats).relative_error.value() == rounded.relative_error.value());
  }
}

TEST_CASE("InputStats: true values for ordinary sizes, scaled ones outside") {
  const auto x = seeded_normal({50, 4}, 9);
  for (const int k : {-17, 0, 17}) {  // the largest |x| is between 1 and 8
    CHECK(stats_of(x * std::ldexp(1.0, k)).scale() == 1.0);
    CHECK(at::equal(stats_of(x * std::ldexp(1.0, k)).gram(),
                    stats_of(x).gram() * std::ldexp(1.0, 2 * k)));
  }
  for (const int k : {-40, 40}) {
    const auto stats = stats_of(x * std::ldexp(1.0, k));
    CHECK(stats.scale() != 1.0);
    CHECK(at::equal(stats.gram() * (stats.scale() * stats.scale() * std::ldexp(1.0, -2 * k)),
                    stats_of(x).gram()));
  }
}

TEST_CASE("InputStats: activations of 1e-22 and 1e20 keep every digit") {
  const auto x = seeded_normal({100, 6}, 10);
  const auto gram = stats_of(x).gram() / (stats_of(x).scale() * stats_of(x).scale());
  for (const double size : {1e-22, 1e20}) {
    const auto stats = stats_of(x * size);
    const double unit = stats.scale() / size;
    CHECK(at::isfinite(stats.gram()).all().item<bool>());
    CHECK(stats.dead_columns() == 0);
    // x * size is rounded to float32 once more: 1e-7 of each value, on a diagonal of about 100.
    require_close(stats.gram() * (unit * unit), gram, 5e-5);
  }
}

TEST_CASE("InputStats: one outlier of 1e20 leaves the other columns their values") {
  auto x = seeded_normal({64, 4}, 11);
  x[3][2] = 1e20f;
  const auto stats = stats_of(x, Needs::sq_norm);
  const double unit = stats.scale();
  const auto got = stats.sq_norm().to(at::kDouble) * (unit * unit);
  const auto want = x.to(at::kDouble).pow(2).sum(0);
  require_close(got, want, 0, 1e-4);  // the small columns lie among float32's denormals
  CHECK(stats.dead_columns() == 0);
}

TEST_CASE("InputStats: a tiny first batch and huge later ones") {
  const auto x = seeded_normal({64, 5}, 12);
  InputStats stats(5);
  stats.add(x * 1e-22);
  stats.add(x * 1e20);
  stats.add(at::zeros({3, 5}));
  CHECK(stats.tokens() == 131);
  CHECK(at::isfinite(stats.gram()).all().item<bool>());
  const double unit = stats.scale() / 1e20;
  require_close(stats.gram() * (unit * unit), stats_of(x).gram(), 1e-4);  // of a diagonal near 64
  require_close(stats.sq_norm() * (unit * unit), stats_of(x).sq_norm(), 1e-4);
  require_close(stats.sum() * unit, stats_of(x).sum(), 1e-5);  // of a sum near 8
  InputStats grown(5);  // each batch larger than the last by less than the head room
  for (int k = -90; k <= 90; k += 30) grown.add(x * std::ldexp(1.0, k));
  CHECK(at::isfinite(grown.gram()).all().item<bool>());
  const double grown_unit = std::ldexp(grown.scale(), -90);
  require_close(grown.gram() * (grown_unit * grown_unit), stats_of(x).gram(), 1e-4);
}

TEST_CASE("InputStats: the smallest float32 numbers are seen") {
  const auto x = at::full({4, 2}, 1e-44f);
  CHECK(stats_of(x).dead_columns() == 0);
  CHECK((stats_of(x).gram() > 0).all().item<bool>());
}

TEST_CASE("InputStats: a non-finite value is named by layer, sample, token and column") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    auto x = at::zeros({2, 5, 3});
    x[1][2][1] = bad;
    InputStats stats(3);
    const auto add = [&] { stats.add(x, 2, {"layers.3.mlp.down_proj", 40, 5}); };
    CHECK_THROWS_AS(add(), NumericalError);
    CHECK_THROWS_WITH(add(), Catch::Contains("layers.3.mlp.down_proj") &&
                                 Catch::Contains("sample 41, token 2, input column 1"));
    CHECK(stats.tokens() == 0);
    CHECK_THROWS_AS(stats_of(x, Needs::none), NumericalError);
  }
  auto half = at::zeros({1, 3}, at::kHalf);
  half[0][2] = 1e6;  // infinite in float16
  CHECK_THROWS_WITH(stats_of(half), Catch::Contains("an unnamed layer, sample 0, token 0"));
}

TEST_CASE("InputStats: what is not [tokens, columns] of floats is refused") {
  InputStats stats(4);
  CHECK_THROWS_WITH(stats.add(at::zeros({2, 5}), 1, {.layer = "q_proj"}),
                    Catch::Contains("[tokens, 4]. Got [2, 5] in q_proj"));
  CHECK_THROWS_AS(stats.add(at::zeros({2, 4}, at::kLong)), std::invalid_argument);
  CHECK_THROWS_AS(stats.add(torch::Tensor()), std::invalid_argument);
  CHECK_THROWS_AS(stats.add(at::zeros({2, 4}), -1), std::invalid_argument);
  CHECK_THROWS_AS(InputStats(0), std::invalid_argument);
  CHECK(stats.tokens() == 0);
}

TEST_CASE("InputStats: zero tokens give a Hessian to nobody") {
  InputStats stats(3);
  CHECK_THROWS_AS(stats.hessian(), NumericalError);
  stats.add(at::zeros({0, 3}));
  CHECK(stats.tokens() == 0);
  CHECK_THROWS_WITH(stats.hessian(), Catch::Contains("Got 0"));
  CHECK(stats.dead_columns() == 0);
}

TEST_CASE("InputStats: only what was asked for is kept, and asking for more changes nothing") {
  const auto x = seeded_normal({100, 7}, 13);
  const auto some = stats_of(x, Needs::sq_norm), all = stats_of(x, Needs::gram);
  CHECK(at::equal(some.sq_norm(), all.sq_norm()));
  CHECK(at::equal(stats_of(x, Needs::sum).sum(), all.sum()));
  CHECK_THROWS_WITH(some.gram(), Catch::Contains("gram() was not collected"));
  CHECK_THROWS_WITH(some.sum(), Catch::Contains("sum() was not collected"));
  CHECK_THROWS_WITH(stats_of(x, Needs::none).sq_norm(), Catch::Contains("not collected"));
  CHECK(stats_of(x, Needs::none).tokens() == 100);
}
