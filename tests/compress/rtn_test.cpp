#include "cupel/compress/rtn.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <nlohmann/json.hpp>

#include "cupel/compress/prune.h"
#include "cupel/core/error.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;

namespace {

// The definition of a quantized weight, entry by entry.
torch::Tensor slow_dequantize(const LayerResult& result, torch::Dtype dtype) {
  auto weight = at::empty(result.codes.sizes(), at::kFloat);
  for (int64_t o = 0; o < weight.size(0); ++o) {
    for (int64_t i = 0; i < weight.size(1); ++i) {
      const int64_t g = result.group_index[i].item<int>();
      const float code = result.codes[o][i].item<uint8_t>();
      const float zero = static_cast<float>(result.zeros[o][g].item<int>());
      const float value = (code - zero) * result.scales[o][g].item<float>();
      weight[o][i] = value;
    }
  }
  return weight.to(dtype);
}

}  // namespace

TEST_CASE("Rtn: weight == ((codes - zeros) * scales) in the weight's dtype, bit for bit") {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const char* scale_dtype : {"float32", "float16", "bfloat16"}) {
      for (const bool symmetric : {false, true}) {
        const Grid grid{.bits = 4, .group = 8, .symmetric = symmetric, .scale_dtype = scale_dtype};
        const auto weight = seeded_normal({5, 20}, 1).to(dtype);
        const auto before = weight.clone();
        const auto result = Rtn(grid).compress(weight);
        INFO(weight.scalar_type() << ", scales in " << scale_dtype);
        CHECK(result.weight.scalar_type() == dtype);
        CHECK(at::equal(result.weight, slow_dequantize(result, dtype)));
        CHECK(at::equal(dequantize(result.quantized()).to(dtype), result.weight));
        CHECK(at::equal(weight, before));
        CHECK(result.bits == 4);
        CHECK_FALSE(result.mask.defined());
      }
    }
  }
}

TEST_CASE("Rtn: by hand") {
  const auto weight = at::tensor({-1.0f, 0.4f, 0.6f, 2.0f}).reshape({1, 4});
  const auto result = Rtn({.bits = 2}).compress(weight);
  CHECK(at::equal(result.weight, at::tensor({-1.0f, 0.0f, 1.0f, 2.0f}).reshape({1, 4})));
  CHECK(result.sparsity == 0.25);
  CHECK(result.packed_bytes == 1 + 4 + 1);  // four 2-bit codes, a float32 scale, a 2-bit zero
}

TEST_CASE("Rtn: packed bytes count scales in their dtype and no zeros of a symmetric grid") {
  const auto weight = seeded_normal({6, 16}, 2);
  CHECK(Rtn({.bits = 4, .group = 8}).compress(weight).packed_bytes == 48 + 12 * 4 + 6);
  CHECK(Rtn({.bits = 4, .group = 8, .scale_dtype = "float16"}).compress(weight).packed_bytes ==
        48 + 12 * 2 + 6);
  CHECK(Rtn({.bits = 4, .group = 8, .symmetric = true}).compress(weight).packed_bytes ==
        48 + 12 * 4);
}

TEST_CASE("Rtn: the error falls as bits rise") {
  const auto weight = seeded_normal({16, 64}, 3);
  InputStats stats(64);
  stats.add(seeded_normal({200, 64}, 4));
  for (const bool symmetric : {false, true}) {
    double last = 1e9;
    for (int64_t bits = 1; bits <= 8; ++bits) {
      const auto result = Rtn({.bits = bits, .symmetric = symmetric}).compress(weight, stats);
      CHECK(result.relative_error.value() < last);
      last = result.relative_error.value();
    }
    CHECK(last < 1e-3);
  }
}

TEST_CASE("Rtn: smaller groups do not hurt on data with outliers") {
  auto weight = seeded_normal({16, 64}, 5);
  weight.select(1, 10).mul_(50);
  double last = 1e9;
  for (const int64_t group : {64, 32, 16, 8}) {
    const auto result = Rtn({.bits = 3, .group = group}).compress(weight);
    const double error = (result.weight - weight).pow(2).sum().item<double>();
    CHECK(error < last);
    last = error;
  }
}

TEST_CASE("Rtn: what a mask prunes stays exactly zero") {
  const auto weight = seeded_normal({6, 24}, 6) + 0.5;
  for (const bool symmetric : {false, true}) {
    for (int64_t bits = 1; bits <= 8; ++bits) {
      const auto pruned = Prune("magnitude", n_of_m(2, 4)).compress(weight);
      const Rtn rtn({.bits = bits, .group = 8, .symmetric = symmetric});
      const auto result = rtn.compress(pruned.weight, {"w", pruned.mask});
      CHECK(at::equal(result.mask, pruned.mask));
      CHECK((result.weight.masked_select(pruned.mask.logical_not()) == 0).all().item<bool>());
      const auto unmasked = rtn.compress(weight, {"w", pruned.mask});  // the mask alone says it
      CHECK(at::equal(unmasked.weight, result.weight));
    }
  }
}

TEST_CASE("Rtn: loss is that of the outputs") {
  const auto x = seeded_normal({128, 32}, 7), weight = seeded_normal({8, 32}, 8);
  InputStats stats(32);
  stats.add(x);
  const auto result = Rtn({.bits = 3}).compress(weight, stats, {"q"});
  const double squares =
      x.matmul((result.weight - weight).t()).to(at::kDouble).pow(2).sum().item<double>();
  CHECK(result.loss.value() == Approx(squares / 128).epsilon(1e-5));  // float32 Gram matrix
  CHECK(result.tokens == 128);
}

TEST_CASE("Rtn: published rules differ only for a symmetric row without negative weights") {
  const auto weight = at::cat({seeded_normal({1, 16}, 9), seeded_normal({1, 16}, 10).abs()});
  const Grid grid{.bits = 4, .symmetric = true};
  const auto exact = Rtn(grid).compress(weight);
  const auto published = Rtn(grid, {.rules = Rules::published}).compress(weight);
  CHECK(at::equal(exact.weight[0], published.weight[0]));
  CHECK_FALSE(at::equal(exact.weight[1], published.weight[1]));
  // Clipped at 7 of 15 steps of the positive range.
  CHECK(published.weight[1].max().item<float>() ==
        Approx(weight[1].max().item<float>() * 7 / 15).epsilon(1e-6));
}

TEST_CASE("Rtn: NaN weights and bad grids are refused, names say the grid") {
  auto weight = at::ones({2, 4});
  weight[1][3] = NAN;
  CHECK_THROWS_AS(Rtn(Grid{}).compress(weight, {"v_proj"}), NumericalError);
  CHECK_THROWS_WITH(Rtn(Grid{}).compress(weight, {"v_proj"}), Catch::Contains("in v_proj"));
  CHECK_THROWS_AS(Rtn({.bits = 12}), std::invalid_argument);
  CHECK(Rtn({.bits = 3, .group = 128}).name() == "rtn 3 bit group 128");
  CHECK(Rtn(Grid{}).needs() == Needs::none);
  const auto json = nlohmann::json::parse(Rtn({.bits = 3, .symmetric = true}).options_json());
  CHECK(json["bits"] == 3);
  CHECK(json["symmetric"] == true);
  CHECK(json["scale_dtype"] == "float32");
}
