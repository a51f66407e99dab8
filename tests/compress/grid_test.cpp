#include "cupel/compress/grid.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;
using cupel::testing::require_close;

namespace {

torch::Tensor row(std::vector<float> values) {
  return at::tensor(at::ArrayRef<float>(values)).unsqueeze(0);
}

GridValues fit(const torch::Tensor& weight, const Grid& grid, Rules rules = Rules::exact) {
  return fit_grid({weight, grid, rules});
}

}  // namespace

TEST_CASE("min_max: an asymmetric grid by hand") {
  const auto values = fit(row({-1.0f, 0.25f, 2.0f}), {.bits = 2});
  CHECK(values.scales.item<float>() == 1.0f);  // (2 - -1) / 3
  CHECK(values.zeros.item<float>() == 1.0f);
  const auto codes = grid_codes(row({-1.0f, 0.25f, 2.0f, 9.0f, -9.0f}), values, 2);
  CHECK(at::equal(codes, row({0, 1, 3, 3, 0})));
}

TEST_CASE("min_max: the range always holds zero") {
  const auto positive = fit(row({1.0f, 3.0f}), {.bits = 2});
  CHECK(positive.scales.item<float>() == 1.0f);
  CHECK(positive.zeros.item<float>() == 0.0f);
  const auto negative = fit(row({-3.0f, -1.0f}), {.bits = 2});
  CHECK(negative.scales.item<float>() == 1.0f);
  CHECK(negative.zeros.item<float>() == 3.0f);
}

TEST_CASE("min_max: a symmetric grid by hand, under both rules") {
  const Grid grid{.bits = 4, .symmetric = true};
  for (const Rules rules : {Rules::exact, Rules::published}) {
    const auto values = fit(row({-7.5f, 1.0f}), grid, rules);
    CHECK(values.scales.item<float>() == 1.0f);  // 2 * 7.5 / 15
    CHECK(values.zeros.item<float>() == 8.0f);
    CHECK(fit(row({-1.0f, 7.5f}), grid, rules).scales.item<float>() == 1.0f);
  }
  // A row without a negative weight: the papers' code does not mirror it, and clips at 7 / 15.
  const auto positive = row({1.0f, 7.5f});
  CHECK(fit(positive, grid).scales.item<float>() == 1.0f);
  CHECK(fit(positive, grid, Rules::published).scales.item<float>() == 0.5f);
  CHECK(fit(positive, grid, Rules::published).zeros.item<float>() == 8.0f);
}

TEST_CASE("min_max: rows of zeros keep a scale to divide by") {
  for (const bool symmetric : {false, true}) {
    const Grid grid{.bits = 4, .symmetric = symmetric};
    const auto values = fit(at::zeros({2, 5}), grid);
    CHECK((values.scales == 1.0f).all().item<bool>());
    CHECK((values.zeros == (symmetric ? 8.0f : 0.0f)).all().item<bool>());
  }
  const auto published = fit(at::zeros({1, 5}), {.bits = 4}, Rules::published);
  CHECK(published.scales.item<float>() == 2.0f / 15.0f);
  CHECK(published.zeros.item<float>() == 7.0f);  // 1 / (2 / 15) is just below 7.5
}

TEST_CASE("grid_codes: rounding is half to even, and the weight is divided") {
  const GridValues values{at::ones({1}), at::full({1}, 8.0f)};
  const auto codes = grid_codes(row({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f}), values, 4);
  CHECK(at::equal(codes, row({8, 10, 10, 8, 6, 6})));
  const float scale = 0.1f;
  const GridValues tenths{at::full({1}, scale), at::zeros({1})};
  const auto weight = row({0.25f, 0.35f, 0.45f, 0.55f, 0.65f});
  for (int64_t i = 0; i < 5; ++i) {
    CHECK(grid_codes(weight, tenths, 4)[0][i].item<float>() ==
          std::nearbyint(weight[0][i].item<float>() / scale));
  }
}

TEST_CASE("quantize: codes, zeros and groups are in range for every width") {
  for (int64_t bits = 1; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      for (const auto& weight : {seeded_normal({5, 12}, bits), seeded_normal({5, 12}, 9).abs(),
                                 -seeded_normal({5, 12}, 10).abs()}) {
        const Grid grid{.bits = bits, .group = 4, .symmetric = symmetric};
        const Quantized q = quantize(weight, grid);
        INFO(bits << " bits, symmetric " << symmetric);
        CHECK(q.bits == bits);
        CHECK(q.codes.scalar_type() == at::kByte);
        CHECK(q.codes.max().item<int64_t>() < (1 << bits));
        CHECK(q.zeros.scalar_type() == at::kInt);
        CHECK(q.zeros.min().item<int64_t>() >= 0);
        CHECK(q.zeros.max().item<int64_t>() < (1 << bits));
        CHECK((q.scales > 0).all().item<bool>());
        // Rounding again on the same grid changes nothing.
        const auto again = dequantize(q);
        for (int64_t g = 0; g < 3; ++g) {
          const GridValues values{q.scales.select(1, g), q.zeros.select(1, g).to(at::kFloat)};
          const auto codes = grid_codes(again.slice(1, 4 * g, 4 * g + 4), values, bits);
          CHECK(at::equal(codes.to(at::kByte), q.codes.slice(1, 4 * g, 4 * g + 4)));
        }
      }
    }
  }
}

TEST_CASE("quantize: no weight moves by more than half a step") {
  auto weight = seeded_normal({8, 32}, 11);
  weight[0] = 0.0f;               // zeros
  weight[1] = 0.7f;               // a constant
  weight[2][3] = 1e6f;            // one outlier
  weight[3] = weight[3] * 1e-30;  // tiny
  weight[4] = weight[4] * 1e30;   // huge
  weight[5] = weight[5].abs();
  for (int64_t bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      const Quantized q = quantize(weight, {.bits = bits, .symmetric = symmetric});
      const auto error = (dequantize(q) - weight).abs();
      // Half a step, and the rounding of the float32 products: |w| / step is at most 2^bits.
      const double slack = 1 + std::ldexp(1.0, bits - 20);
      INFO(bits << " bits, symmetric " << symmetric);
      CHECK((error <= q.scales * (0.5 * slack)).all().item<bool>());
    }
  }
}

TEST_CASE("quantize: groups are consecutive columns and the last may be short") {
  const auto weight = seeded_normal({3, 10}, 12);
  const Quantized q = quantize(weight, {.bits = 4, .group = 4});
  CHECK(q.scales.sizes() == at::IntArrayRef({3, 3}));
  const auto groups = at::tensor({0, 0, 0, 0, 1, 1, 1, 1, 2, 2}).to(at::kInt);
  CHECK(at::equal(q.group_index, groups));
  CHECK(q.group_index.scalar_type() == at::kInt);
  for (int64_t g = 0; g < 3; ++g) {  // each group as if it were alone
    const auto part = weight.slice(1, 4 * g, std::min<int64_t>(10, 4 * g + 4));
    const Quantized alone = quantize(part, {.bits = 4});
    CHECK(at::equal(q.scales.select(1, g), alone.scales.select(1, 0)));
    CHECK(at::equal(q.zeros.select(1, g), alone.zeros.select(1, 0)));
    CHECK(at::equal(q.codes.slice(1, 4 * g, std::min<int64_t>(10, 4 * g + 4)), alone.codes));
  }
}

TEST_CASE("quantize: odd shapes and groups wider than the matrix") {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{1, 1}, {1, 9}, {9, 1}, {3, 5}, {0, 4}}) {
    const auto weight = seeded_normal(shape, 13);
    for (const int64_t group : {0, 1, 3, 100}) {
      INFO(weight.sizes() << " group " << group);
      const Quantized q = quantize(weight, {.bits = 8, .group = group});
      const int64_t width = group == 0 ? shape[1] : group;
      CHECK(q.scales.sizes() == at::IntArrayRef({shape[0], (shape[1] + width - 1) / width}));
      CHECK(q.codes.sizes() == weight.sizes());
      if (shape[0] > 0) require_close(dequantize(q), weight, 0.02);  // half of a step of 5 / 255
    }
    const Quantized whole = quantize(weight, {.bits = 4});
    CHECK(at::equal(quantize(weight, {.bits = 4, .group = 100}).codes, whole.codes));
  }
}

TEST_CASE("quantize: scales are rounded to the dtype they will be stored in") {
  const auto weight = seeded_normal({6, 16}, 14);
  for (const auto& [name, dtype] : {std::pair("float16", at::kHalf), {"bfloat16", at::kBFloat16}}) {
    const Quantized q = quantize(weight, {.bits = 4, .scale_dtype = name});
    CHECK(q.scales.scalar_type() == at::kFloat);
    CHECK(at::equal(q.scales, q.scales.to(dtype).to(at::kFloat)));
    CHECK_FALSE(at::equal(q.scales, quantize(weight, {.bits = 4}).scales));
    CHECK(
        (quantize(weight * 1e-30, {.bits = 4, .scale_dtype = name}).scales > 0).all().item<bool>());
  }
  const auto huge = [&] { quantize(weight * 1e8, {.scale_dtype = "float16"}, Rules::exact, "q"); };
  CHECK_THROWS_AS(huge(), NumericalError);
  CHECK_THROWS_WITH(huge(), Catch::Contains("finite in float16") && Catch::Contains("of q;"));
}

TEST_CASE("quantize: the ends of float32") {
  const auto wide = row({-3e38f, 3e38f, 1e38f});  // the range leaves float32, the step does not
  const Quantized q = quantize(wide, {.bits = 4});
  CHECK(at::isfinite(dequantize(q)).all().item<bool>());
  CHECK(((dequantize(q) - wide).abs() <= q.scales * 0.51).all().item<bool>());
  const Quantized tiny = quantize(row({1e-45f, -1e-45f}), {.bits = 4});
  CHECK((tiny.scales > 0).all().item<bool>());
}

TEST_CASE("Grid: options out of range are refused by name") {
  const auto weight = at::ones({2, 4});
  CHECK_THROWS_WITH(check_grid({.bits = 0}), Catch::Contains("bits lie in [1, 8]. Got 0"));
  CHECK_THROWS_AS(check_grid({.bits = 9}), std::invalid_argument);
  CHECK_THROWS_WITH(check_grid({.group = -1}), Catch::Contains("Got -1"));
  CHECK_THROWS_WITH(check_grid({.scale_dtype = "int8"}), Catch::Contains("Got 'int8'"));
  CHECK_THROWS_WITH(check_grid({.clip = "none"}),
                    Catch::Contains("unknown quantizer 'none'") && Catch::Contains("min_max"));
  CHECK_THROWS_AS(quantize(weight, {.bits = 0}), std::invalid_argument);
}

TEST_CASE("quantizers: one's own is used by name and checked") {
  const auto add = [](torch::Tensor scales) {
    quantizers().add("own", [=](const GridRequest& request) {
      const int64_t rows = request.weight.size(0);
      return GridValues{scales.defined() ? scales : at::full({rows}, 0.5f),
                        at::full({rows}, 99.0f)};
    });
  };
  add({});
  const Quantized q = quantize(at::zeros({3, 4}), {.bits = 4, .clip = "own"});
  CHECK((q.scales == 0.5f).all().item<bool>());
  CHECK((q.zeros == 15).all().item<bool>());  // a zero point outside is taken to the edge
  quantizers().remove("own");
  add(at::ones({2}));
  CHECK_THROWS_WITH(quantize(at::zeros({3, 4}), {.clip = "own"}),
                    Catch::Contains("one scale and one zero a row for [3, 4]"));
  quantizers().remove("own");
  add(at::zeros({3}));
  CHECK_THROWS_AS(quantize(at::zeros({3, 4}), {.clip = "own"}), NumericalError);
  quantizers().remove("own");
}
