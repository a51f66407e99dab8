#include "cupel/compress/gptq.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <nlohmann/json.hpp>

#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/compress/sparsegpt.h"
#include "cupel/core/error.h"
#include "support/layer.h"

using namespace cupel;
using cupel::test::Layer;
using cupel::test::quadratic;
using cupel::test::seeded_normal;

namespace {

torch::Tensor plain_groups(int64_t columns, int64_t group) {
  return at::floor_divide(at::arange(columns), group).to(at::kInt);
}

}  // namespace

TEST_CASE("Gptq: its loss is that of the damped Hessian, for every option") {
  const Layer layer(12, 45, 1);
  for (const int64_t group : {0, 10, 16, 64}) {
    for (const char* order : {"none", "activation"}) {
      for (const bool fixed : {false, true}) {
        for (const bool symmetric : {false, true}) {
          for (const char* clip : {"min_max", "mse", "hessian"}) {
            const Gptq gptq({.bits = 3, .group = group, .symmetric = symmetric, .clip = clip},
                            {.block = 16, .order = order, .static_groups = fixed});
            const auto made = gptq.compress(layer.weight, layer.stats);
            INFO(gptq.options_json());
            const double expected =
                quadratic(made.weight - layer.weight, layer.damped_hessian(0.01));
            CHECK(made.sweep_loss.value() == Approx(expected).epsilon(1e-4));
            CHECK(at::equal(made.weight, dequantize(made.quantized())));
            CHECK(made.relative_error.value() <
                  Rtn({.bits = 3, .group = group, .symmetric = symmetric})
                      .compress(layer.weight, layer.stats)
                      .relative_error.value());
            CHECK(made.permutation.defined() == (std::string(order) == "activation"));
          }
        }
      }
    }
  }
}

TEST_CASE("Gptq: groups follow the order of columns, unless they are static") {
  const Layer layer(6, 24, 2);
  const auto run = [&](const char* order, bool fixed) {
    return Gptq({.bits = 4, .group = 8}, {.order = order, .static_groups = fixed})
        .compress(layer.weight, layer.stats);
  };
  CHECK(at::equal(run("none", false).group_index, plain_groups(24, 8)));
  CHECK(at::equal(run("activation", true).group_index, plain_groups(24, 8)));
  const auto ordered = run("activation", false);
  CHECK_FALSE(at::equal(ordered.group_index, plain_groups(24, 8)));
  // Seen in the order of the sweep, groups are consecutive; that order is by falling diagonal.
  const auto order = ordered.permutation;
  CHECK(at::equal(ordered.group_index.index_select(0, order), plain_groups(24, 8)));
  const auto diagonal = layer.stats.hessian().diagonal().index_select(0, order);
  CHECK((diagonal.slice(0, 1) <= diagonal.slice(0, 0, 23)).all().item<bool>());
}

TEST_CASE("Gptq: what a mask prunes stays exactly zero and widens no grid") {
  const Layer layer(8, 32, 3);
  auto weight = layer.weight.clone();
  const auto pruned = Prune("magnitude", n_of_m(2, 4)).compress(weight);
  for (const bool fixed : {false, true}) {
    for (const int64_t group : {0, 8}) {
      const Gptq gptq({.bits = 4, .group = group}, {.static_groups = fixed});
      const auto made = gptq.compress(pruned.weight, layer.stats, {"q", pruned.mask});
      CHECK(at::equal(made.mask, pruned.mask));
      CHECK((made.weight.masked_select(pruned.mask.logical_not()) == 0).all().item<bool>());
      CHECK(at::equal(made.weight, dequantize(made.quantized())));
    }
  }
  // A huge weight that the mask prunes is no part of the range of what is left.
  auto outlier = weight.clone();
  outlier[0][5] = 1000.0f;
  auto mask = at::ones_like(weight, at::kBool);
  mask[0][5] = false;
  const auto made = Gptq({.bits = 4}).compress(outlier, layer.stats, {"q", mask});
  CHECK(made.scales[0][0].item<float>() < 1.0f);
}

TEST_CASE("Gptq: dead inputs get zero weights and widen no grid") {
  const Layer layer(6, 16, 4);
  auto x = layer.x.clone();
  x.select(1, 5).zero_();
  InputStats stats(16);
  stats.add(x);
  auto weight = layer.weight.clone();
  weight.select(1, 5).fill_(100.0);
  for (const int64_t group : {0, 8}) {
    const auto made = Gptq({.bits = 4, .group = group}).compress(weight, stats);
    CHECK((made.weight.select(1, 5) == 0).all().item<bool>());
    CHECK(made.scales.max().item<float>() < 1.0f);
    CHECK(made.dead_columns == 1);
    CHECK_FALSE(made.mask.defined());
    // The size counts the mask that is reported, not what dead inputs add to it in the sweep.
    const auto mask = seeded_normal({6, 16}, 12) > 0;
    const auto masked = Gptq({.bits = 4, .group = group}).compress(weight, stats, {"q", mask});
    CHECK(at::equal(masked.mask, mask));
    CHECK(masked.packed_bytes ==
          static_cast<int64_t>(packed_bytes(masked.weight, mask, masked.quantized())));
  }
}

TEST_CASE(
    "Gptq: the hessian clip rounds to nearest at less output error than min-max, row by row") {
  const Layer layer(16, 32, 10);
  const auto hessian = layer.damped_hessian(0.01);
  const auto factor = at::linalg_cholesky(hessian);  // any root of H will do
  const auto errors = [&](const char* clip) {
    const Grid grid{.bits = 3, .clip = clip};
    const GridValues values = fit_grid({layer.weight, grid, Rules::exact, factor});
    const auto codes = grid_codes(layer.weight, values, 3);
    const auto change =
        (codes - values.zeros.unsqueeze(1)) * values.scales.unsqueeze(1) - layer.weight;
    return (change.to(at::kDouble).matmul(hessian) * change).sum(1);
  };
  const auto clipped = errors("hessian"), whole = errors("min_max");
  CHECK((clipped <= whole * (1 + 1e-5)).all().item<bool>());
  CHECK(clipped.sum().item<double>() < 0.95 * whole.sum().item<double>());
  CHECK_THROWS_WITH(Rtn({.clip = "hessian"}).compress(seeded_normal({2, 4}, 1)),
                    Catch::Contains("only Gptq and SparseGpt"));
}

TEST_CASE("Gptq: without a Hessian it throws, or rounds to nearest when told to") {
  const Layer layer(4, 8, 5);
  const InputStats nothing(8);
  CHECK_THROWS_AS(Gptq(Grid{}).compress(layer.weight, nothing, {"o"}), NumericalError);
  const auto made = Gptq(Grid{}, {.on_failure = "rtn"}).compress(layer.weight, nothing, {"o"});
  CHECK(at::equal(made.codes, Rtn(Grid{}).compress(layer.weight).codes));
  CHECK_THAT(made.notes.back(),
             Catch::Contains("0 tokens") && Catch::Contains("rounded to nearest (min_max)"));
  InputStats zeros(8);
  zeros.add(at::zeros({5, 8}));
  const auto dead = Gptq({.clip = "hessian"}).compress(layer.weight, zeros, {"o"});
  CHECK(at::equal(dead.codes, made.codes));
  CHECK_THAT(dead.notes.back(), Catch::Contains("every input was zero"));
}

TEST_CASE("Gptq: few tokens are noted") {
  const Layer layer(4, 32, 6, 3);
  const auto made = Gptq(Grid{}).compress(layer.weight, layer.stats);
  CHECK_THAT(made.notes.front(), Catch::Contains("3 tokens for 32 inputs"));
  CHECK(made.damping.value() == 0.01);
}

TEST_CASE("Gptq: options out of range are refused by name") {
  CHECK_THROWS_WITH(Gptq({.bits = 9}), Catch::Contains("bits"));
  CHECK_THROWS_WITH(Gptq(Grid{}, {.damping = 2}), Catch::Contains("damping"));
  CHECK_THROWS_WITH(Gptq(Grid{}, {.block = -1}), Catch::Contains("block"));
  CHECK_THROWS_WITH(Gptq(Grid{}, {.order = "random"}), Catch::Contains("order"));
  CHECK_THROWS_WITH(Gptq(Grid{}, {.on_failure = "identity"}), Catch::Contains("on_failure"));
  const auto json =
      nlohmann::json::parse(Gptq({.bits = 3, .group = 64}, {.order = "activation"}).options_json());
  CHECK(json["bits"] == 3);
  CHECK(json["order"] == "activation");
  CHECK(json["damping"] == 0.01);
}

TEST_CASE("make_shared_factors: the same bytes, whatever was factored before") {
  const Layer first(8, 40, 21), second(8, 40, 22), narrow(8, 24, 23);
  const Layer wide(4, 520, 24);  // its Gram matrix is float32
  const auto factors = make_shared_factors();
  const std::vector<std::shared_ptr<Compressor>> methods = {
      std::make_shared<Gptq>(Grid{.bits = 3}),
      std::make_shared<Gptq>(Grid{.bits = 3}, GptqOptions{.damping = 0.1}),
      std::make_shared<Gptq>(Grid{.bits = 3}, GptqOptions{.order = "activation"}),
      std::make_shared<SparseGpt>(n_of_m(2, 4))};
  for (const auto& method : methods) {
    for (const Layer* layer : {&first, &first, &second, &narrow, &wide, &wide, &first}) {
      const auto alone = method->compress(layer->weight, layer->stats);
      const auto made = method->compress(layer->weight, layer->stats, {.shared = factors});
      CHECK(at::equal(made.weight, alone.weight));
      CHECK(made.damping == alone.damping);
    }
  }
  // Statistics that went on are others.
  InputStats grown = first.stats;
  grown.add(seeded_normal({30, 40}, 25));
  const auto made = methods[0]->compress(first.weight, grown, {.shared = factors});
  CHECK(at::equal(made.weight, methods[0]->compress(first.weight, grown).weight));
}
