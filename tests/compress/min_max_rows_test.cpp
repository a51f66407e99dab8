#include "compress/min_max_rows.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <limits>

#include "support/catch.h"

#include "cupel/compress/column_sweep.h"
#include "cupel/compress/gptq.h"
#include "cupel/core/error.h"
#include "support/layer.h"

using namespace cupel;
using Catch::Contains;
using cupel::test::Layer;
using cupel::test::seeded_normal;

namespace {

struct Fitted {
  torch::Tensor scales, zeros;  // [rows]
};

Fitted fit(const torch::Tensor& weight, const torch::Tensor& keep, const Grid& grid, Rules rules) {
  const int64_t rows = weight.size(0);
  Fitted made{at::empty({rows, 2}), at::empty({rows, 2})};
  RowsToFit from{.weight = weight.const_data_ptr<float>(),
                 .stride = weight.stride(0),
                 .rows = rows,
                 .columns = weight.size(1)};
  if (keep.defined()) {
    from.keep = keep.const_data_ptr<bool>();
    from.keep_stride = keep.stride(0);
  }
  fit_min_max(from, grid, rules,
              {made.scales.mutable_data_ptr<float>(), made.zeros.mutable_data_ptr<float>(), 2}, 0,
              "layer");
  return {made.scales.select(1, 0), made.zeros.select(1, 0)};
}

}  // namespace

TEST_CASE("fit_min_max: the same bytes as the quantizer that works on tensors") {
  // Rows of every kind, in a part of a larger matrix whose columns are no multiple of a vector.
  const auto weight = seeded_normal({12, 60}, 1).slice(1, 3, 56);
  weight[1].abs_();
  weight[2].abs_().neg_();
  weight[3].zero_();
  weight[4].mul_(1e-30);
  weight[5].mul_(1e38);
  weight[6].mul_(3e-5);
  weight[7].fill_(-0.0);
  weight[8].mul_(1e-44);
  const auto masks = {torch::Tensor(), seeded_normal({12, 53}, 2) > 0};
  for (const auto& keep : masks) {
    for (const bool symmetric : {false, true}) {
      for (const Rules rules : {Rules::exact, Rules::published}) {
        for (const char* dtype : {"float32", "float16", "bfloat16"}) {
          for (const int64_t bits : {2, 4, 8}) {
            const Grid grid{.bits = bits, .symmetric = symmetric, .scale_dtype = dtype};
            // 1e38 has no place in float16.
            const bool narrow = grid.scale_dtype == "float16";
            const auto part = narrow ? weight.clamp(-1e4, 1e4) : weight;
            const auto counted =
                keep.defined() ? at::where(keep, part, at::zeros_like(part)) : part;
            const GridValues expected = fit_grid({counted, grid, rules});
            const Fitted made = fit(part, keep, grid, rules);
            INFO(dtype << " " << bits << " symmetric " << symmetric << " " << to_string(rules));
            CHECK(at::equal(made.scales, expected.scales));
            CHECK(at::equal(made.zeros, expected.zeros));
          }
        }
      }
    }
  }
}

TEST_CASE("fit_min_max: refuses what fit_grid refuses, in the same words") {
  const auto refusal = [](const auto& run) {
    try {
      run();
    } catch (const NumericalError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was refused");
  };
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), 1e9f}) {
    auto weight = seeded_normal({5, 40}, 3);
    weight[3][37] = bad;
    const Grid grid{.bits = 4, .scale_dtype = "float16"};
    const auto expected = refusal([&] { fit_grid({weight, grid}, "layer"); });
    CHECK_THAT(expected, Contains("row 3 of layer"));
    CHECK(refusal([&] { fit(weight, {}, grid, Rules::exact); }) == expected);
  }
}

TEST_CASE(
    "Gptq: grids fitted row by row are those of a quantizer of one's own with the same rule") {
  const Layer layer(37, 300, 4);
  auto mask = seeded_normal({37, 300}, 5) > -1;
  quantizers().add("min_max_in_disguise",
                   [](const GridRequest& request) { return quantizers().get("min_max")(request); });
  for (const int64_t group : {32, 64, 128, 300, 512}) {
    for (const bool fixed : {false, true}) {
      for (const bool masked : {false, true}) {
        INFO("group " << group << " fixed " << fixed << " masked " << masked);
        GptqOptions options;
        options.static_groups = fixed;
        LayerTask task{"layer", layer.weight, layer.stats, {}};
        if (masked) task.mask = mask;
        const auto made = Gptq({.bits = 3, .group = group}, options).compress(task);
        const auto expected =
            Gptq({.bits = 3, .group = group, .clip = "min_max_in_disguise"}, options)
                .compress(task);
        CHECK(at::equal(made.scales, expected.scales));
        CHECK(at::equal(made.zeros, expected.zeros));
        CHECK(at::equal(made.codes, expected.codes));
        CHECK(at::equal(made.weight, expected.weight));
      }
    }
  }
  quantizers().remove("min_max_in_disguise");
}
