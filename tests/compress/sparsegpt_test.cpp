#include "cupel/compress/sparsegpt.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <nlohmann/json.hpp>

#include "cupel/compress/prune.h"
#include "cupel/core/error.h"
#include "support/layer.h"

using namespace cupel;
using cupel::test::Layer;
using cupel::test::quadratic;
using cupel::test::seeded_normal;

namespace {

int64_t pruned(const LayerResult& result) {
  return result.mask.logical_not().sum().item<int64_t>();
}

}  // namespace

TEST_CASE("SparseGpt: two columns by hand") {
  // H = [[2, 1], [1, 2]] without damping: U = [[sqrt(2/3), -1/sqrt(6)], [0, 1/sqrt(2)]].
  InputStats stats(2);
  stats.add(at::tensor({1.0f, 0.0f, 0.0f, 1.0f, 1.0f, 1.0f}).view({3, 2}) * std::sqrt(1.5f));
  const auto weight = at::tensor({1.0f, 3.0f}).view({1, 2});
  const auto made = SparseGpt(unstructured(0.5), {.damping = 0}).compress(weight, stats);
  // The first is worth 1 / 0.82 and goes; the second takes up half of it.
  CHECK(at::allclose(made.weight, at::tensor({0.0f, 3.5f}).view({1, 2})));
  CHECK(made.sweep_loss.value() == Approx(0.75));
  CHECK(made.damping.value() == 0.0);
}

TEST_CASE("SparseGpt: counts are exact whatever the block and the scope") {
  const Layer layer(13, 50, 1);
  for (const double sparsity : {0.0, 1e-6, 0.1, 0.35, 0.5, 0.999, 1.0}) {
    for (const int64_t block : {1, 16, 37, 50, 128}) {
      INFO(sparsity << ", block " << block);
      const auto whole =
          SparseGpt(unstructured(sparsity), {.block = block}).compress(layer.weight, layer.stats);
      CHECK(pruned(whole) == static_cast<int64_t>(sparsity * 13 * 50));
      const auto rows =
          SparseGpt(row_wise(sparsity), {.block = block}).compress(layer.weight, layer.stats);
      CHECK((rows.mask.logical_not().sum(1) == static_cast<int64_t>(sparsity * 50))
                .all()
                .item<bool>());
    }
    const auto matrix = SparseGpt(matrix_wise(sparsity)).compress(layer.weight, layer.stats);
    CHECK(pruned(matrix) == static_cast<int64_t>(sparsity * 13 * 50));
  }
}

TEST_CASE("SparseGpt: its loss is that of the damped Hessian, for every way to choose") {
  const Layer layer(12, 40, 2);
  for (const char* saliency : {"obs", "wanda", "magnitude"}) {
    for (const char* selection : {"block", "dense"}) {
      for (const auto& pattern : {unstructured(0.4), row_wise(0.4), n_of_m(1, 4)}) {
        for (const bool grid : {false, true}) {
          SparseGptOptions options{.block = 16, .saliency = saliency, .selection = selection};
          if (grid) options.grid = Grid{.bits = 4, .group = 10};
          const auto made = SparseGpt(pattern, options).compress(layer.weight, layer.stats);
          INFO(SparseGpt(pattern, options).name() << " " << selection);
          const double expected = quadratic(made.weight - layer.weight, layer.damped_hessian(0.01));
          CHECK(made.sweep_loss.value() == Approx(expected).epsilon(1e-4));
          CHECK((made.weight.masked_select(made.mask.logical_not()) == 0).all().item<bool>());
          if (grid) CHECK(at::equal(made.weight, dequantize(made.quantized())));
        }
      }
    }
  }
}

TEST_CASE("SparseGpt: the update helps any mask, and the paper's choice helps most") {
  const Layer layer(32, 64, 3);
  const auto error = [&](const Compressor& compressor) {
    return compressor.compress(layer.weight, layer.stats).relative_error.value();
  };
  const double obs = error(SparseGpt(unstructured(0.5)));
  const double wanda = error(SparseGpt(unstructured(0.5), {.saliency = "wanda"}));
  CHECK(obs < wanda);
  CHECK(wanda < error(Prune("wanda", unstructured(0.5))));
}

TEST_CASE("SparseGpt: a mask of one's own is kept, and the rest makes up for it") {
  const Layer layer(16, 32, 4);
  const auto wanda = Prune("wanda", n_of_m(2, 4)).compress(layer.weight, layer.stats);
  const auto made =
      SparseGpt(unstructured(0)).compress(layer.weight, layer.stats, {"q", wanda.mask});
  CHECK(at::equal(made.mask, wanda.mask));
  CHECK(made.relative_error.value() < 0.8 * wanda.relative_error.value());
  // With a share to prune, what the mask prunes counts first.
  const auto more =
      SparseGpt(unstructured(0.6)).compress(layer.weight, layer.stats, {"q", wanda.mask});
  CHECK(pruned(more) == static_cast<int64_t>(0.6 * 16 * 32));
  CHECK_FALSE(at::logical_and(more.mask, wanda.mask.logical_not()).any().item<bool>());
}

TEST_CASE("SparseGpt: a dead input goes first, and keeps its weights when nothing goes") {
  Layer layer(8, 16, 5);
  auto x = layer.x.clone();
  x.select(1, 3).zero_();
  InputStats stats(16);
  stats.add(x);
  const auto some = SparseGpt(unstructured(0.1)).compress(layer.weight, stats);
  CHECK_FALSE(some.mask.select(1, 3).any().item<bool>());
  CHECK(some.dead_columns == 1);
  const auto none = SparseGpt(unstructured(0)).compress(layer.weight, stats);
  CHECK(at::equal(none.weight, layer.weight));
  const auto published =
      SparseGpt(unstructured(0), {.rules = Rules::published}).compress(layer.weight, stats);
  CHECK((published.weight.select(1, 3) == 0).all().item<bool>());
}

TEST_CASE("SparseGpt: published thresholds take one weight more in each block") {
  const Layer layer(16, 64, 6);
  const SparseGptOptions options{.block = 32, .rules = Rules::published};
  const auto made = SparseGpt(unstructured(0.5), options).compress(layer.weight, layer.stats);
  CHECK(pruned(made) == 16 * 64 / 2 + 2);
  CHECK_THROWS_WITH(SparseGpt(unstructured(1.0), options).compress(layer.weight, layer.stats),
                    Catch::Contains("no threshold at sparsity 1"));
}

TEST_CASE("SparseGpt: counts from an allocation") {
  const Layer layer(7, 30, 7);
  for (const auto& pattern : {unstructured(0.5), row_wise(0.5), matrix_wise(0.5)}) {
    const SparseGpt method(pattern, {.block = 8});
    const auto made = method.compress(layer.weight, layer.stats, {.name = "q", .prune_count = 101});
    INFO(method.name());
    CHECK(pruned(made) == 101);
  }
  CHECK_THROWS_WITH(SparseGpt(n_of_m(2, 4))
                        .compress(seeded_normal({2, 4}, 1), Layer(2, 4, 1).stats,
                                  {.name = "q", .prune_count = 3}),
                    Catch::Contains("n:m fixes the count"));
}

TEST_CASE("SparseGpt: without a Hessian it throws, or does what it was told to") {
  const Layer layer(4, 8, 8);
  const InputStats nothing(8);
  CHECK_THROWS_AS(SparseGpt(unstructured(0.5)).compress(layer.weight, nothing, {"o"}),
                  NumericalError);
  const auto made = SparseGpt(unstructured(0.5), {.on_failure = "magnitude"})
                        .compress(layer.weight, nothing, {"o"});
  CHECK(at::equal(made.mask, Prune("magnitude", unstructured(0.5)).compress(layer.weight).mask));
  REQUIRE_FALSE(made.notes.empty());
  CHECK_THAT(made.notes.back(), Catch::Contains("0 tokens") && Catch::Contains("magnitude"));
}

TEST_CASE("SparseGpt: inputs that are all zero leave magnitude, and the result says so") {
  InputStats stats(8);
  stats.add(at::zeros({20, 8}));
  const auto weight = seeded_normal({4, 8}, 9);
  const auto made = SparseGpt(n_of_m(2, 4)).compress(weight, stats, {"o"});
  CHECK(at::equal(made.mask, Prune("magnitude", n_of_m(2, 4)).compress(weight).mask));
  CHECK_THAT(made.notes.back(), Catch::Contains("every input was zero"));
}

TEST_CASE("SparseGpt: options out of range are refused by name") {
  CHECK_THROWS_WITH(SparseGpt(unstructured(0.5), {.damping = -1}), Catch::Contains("damping"));
  CHECK_THROWS_WITH(SparseGpt(unstructured(0.5), {.block = 0}), Catch::Contains("block"));
  CHECK_THROWS_WITH(SparseGpt(unstructured(0.5), {.saliency = "ria"}),
                    Catch::Contains("selection"));
  CHECK_NOTHROW(SparseGpt(unstructured(0.5), {.saliency = "ria", .selection = "dense"}));
  CHECK_THROWS_WITH(SparseGpt(unstructured(0.5), {.selection = "all"}),
                    Catch::Contains("selection"));
  CHECK_THROWS_WITH(SparseGpt(n_of_m(2, 4), {.block = 126, .rules = Rules::published}),
                    Catch::Contains("a block that m divides"));
  CHECK_THROWS_WITH(
      SparseGpt(n_of_m(2, 4)).compress(seeded_normal({2, 6}, 1), Layer(2, 6, 1).stats, {"k_proj"}),
      Catch::Contains("multiple of 4") && Catch::Contains("k_proj"));
  const auto json =
      nlohmann::json::parse(SparseGpt(n_of_m(2, 4), {.grid = Grid{.bits = 3}}).options_json());
  CHECK(json["pattern"] == "2:4");
  CHECK(json["grid"]["bits"] == 3);
}
