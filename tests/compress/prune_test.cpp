#include "cupel/compress/prune.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;
using cupel::testing::require_close;

namespace {

InputStats stats_of(const torch::Tensor& x) {
  InputStats stats(x.size(-1));
  stats.add(x);
  return stats;
}

Criterion own(std::function<torch::Tensor(const torch::Tensor&, const InputStats&)> score) {
  return {"own", Needs::none, std::move(score)};
}

}  // namespace

TEST_CASE("Prune: magnitude by hand") {
  const auto weight = at::tensor({1.0f, -5.0f, 3.0f, 0.5f,  //
                                  -2.0f, 4.0f, -0.1f, 6.0f})
                          .reshape({2, 4});
  const auto half = Prune("magnitude", unstructured(0.5)).compress(weight);
  CHECK(at::equal(half.weight, at::tensor({0.0f, -5.0f, 3.0f, 0.0f,  //
                                           0.0f, 4.0f, 0.0f, 6.0f})
                                   .reshape({2, 4})));
  CHECK(half.sparsity == 0.5);
  CHECK(at::equal(half.mask, half.weight != 0));
  CHECK(half.rows == 2);
  CHECK(half.columns == 4);
  CHECK(half.tokens == 0);
  CHECK_FALSE(half.loss.has_value());  // no statistics, no loss
  CHECK_FALSE(half.relative_error.has_value());
  CHECK(half.packed_bytes == 4 * 4 + 1);  // four float32 and a bit a weight
  CHECK(half.name == "weight");
  CHECK(half.notes == std::vector<std::string>{"compared by matrix"});
  const auto groups = Prune("magnitude", n_of_m(2, 4)).compress(weight);
  CHECK(at::equal(groups.weight, at::tensor({0.0f, -5.0f, 3.0f, 0.0f,  //
                                             0.0f, 4.0f, 0.0f, 6.0f})
                                     .reshape({2, 4})));
}

TEST_CASE("Prune: wanda by hand, and its losses") {
  const auto x = at::tensor({1.0f, 0.0f, 0.0f,  //
                             0.0f, 10.0f, 0.0f})
                     .reshape({2, 3});
  const auto weight = at::tensor({5.0f, 1.0f, 100.0f}).reshape({1, 3});
  const auto result = Prune("wanda", unstructured(0.67)).compress(weight, stats_of(x), {"q_proj"});
  CHECK(at::equal(result.weight, at::tensor({0.0f, 1.0f, 0.0f}).reshape({1, 3})));
  CHECK(result.name == "q_proj");
  CHECK(result.dead_columns == 1);
  CHECK(result.tokens == 2);
  CHECK(result.loss.value() == 12.5);                    // 5^2 over two tokens
  CHECK(result.relative_error.value() == 25.0 / 125.0);  // of 5^2 + 10^2
}

TEST_CASE("Prune: loss and relative error are those of the outputs") {
  const auto x = seeded_normal({300, 20}, 1), weight = seeded_normal({8, 20}, 2);
  for (const char* name : {"magnitude", "wanda"}) {
    const auto result = Prune(name, unstructured(0.5)).compress(weight, stats_of(x));
    const auto error = x.matmul((result.weight - weight).t()).to(at::kDouble);
    const auto whole = x.matmul(weight.t()).to(at::kDouble);
    const double squares = error.pow(2).sum().item<double>();
    // Float32 Gram matrices of 300 tokens.
    CHECK(result.loss.value() == Approx(squares / 300).epsilon(1e-5));
    CHECK(result.relative_error.value() ==
          Approx(squares / whole.pow(2).sum().item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("Prune: weights keep their dtype and their values") {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto weight = seeded_normal({6, 16}, 3).to(dtype);
    const auto before = weight.clone();
    const auto result = Prune("magnitude", n_of_m(2, 4)).compress(weight);
    CHECK(result.weight.scalar_type() == dtype);
    CHECK(at::equal(result.weight, at::where(result.mask, before, at::zeros_like(before))));
    CHECK(at::equal(weight, before));  // the input is not touched
  }
}

TEST_CASE("Prune: scores made row by row prune as scores of the whole matrix do") {
  auto weight = seeded_normal({37, 24}, 8);
  weight.slice(1, 0, 12).copy_(weight.slice(1, 12, 24));  // equal weights: ties
  auto x = seeded_normal({50, 24}, 9);
  x.slice(1, 0, 12).copy_(x.slice(1, 12, 24));
  const auto stats = stats_of(x);
  const Criterion by_factor = criteria().get("wanda");
  REQUIRE(by_factor.column_factor);
  Criterion by_scores = by_factor;
  by_scores.column_factor = {};
  const auto some = seeded_normal({37, 24}, 10) > -0.7;
  for (const auto& pattern : {unstructured(0.5), row_wise(0.0), unstructured(1.0), n_of_m(2, 4),
                              n_of_m(1, 3), n_of_m(4, 8), matrix_wise(0.4)}) {
    for (const auto rules : {Rules::exact, Rules::published}) {
      for (const bool pruned_before : {false, true}) {
        if (pattern.scope == Scope::matrix && rules == Rules::published) continue;
        LayerOptions options;
        if (pruned_before) options.mask = some;
        const auto fast = Prune(by_factor, pattern, {rules}).compress(weight, stats, options);
        const auto slow = Prune(by_scores, pattern, {rules}).compress(weight, stats, options);
        INFO(pattern.to_string() << " " << to_string(rules) << " " << pruned_before);
        CHECK(at::equal(fast.mask, slow.mask));
        CHECK(at::equal(fast.weight, slow.weight));
        CHECK(fast.notes == slow.notes);
      }
    }
  }
  const LayerOptions counted{.prune_count = 101};
  const auto made = Prune(by_factor, unstructured(0.5)).compress(weight, stats, counted);
  CHECK((made.weight == 0).sum().item<int64_t>() == 101);
  CHECK_THROWS_WITH(
      Prune(by_factor, unstructured(0.5)).compress(weight, stats, {.prune_count = 37 * 24 + 1}),
      Catch::Contains("can lose 0 to all of them. Got 25"));
  Criterion broken = by_factor;
  broken.column_factor = [](const InputStats& in) {
    auto factor = at::ones({in.columns()});
    factor[7] = std::nan("");
    return factor;
  };
  CHECK_THROWS_WITH(Prune(broken, unstructured(0.5)).compress(weight, stats, {.name = "q"}),
                    Catch::Contains("row 0, column 7 in q"));
  broken.column_factor = [](const InputStats&) { return at::ones({3}); };
  CHECK_THROWS_WITH(Prune(broken, unstructured(0.5)).compress(weight, stats),
                    Catch::Contains("one factor a column. Got [3]"));
}

TEST_CASE("Prune: a criterion of one's own is enough") {
  const auto weight = seeded_normal({4, 10}, 4);
  const auto keeps_left = own([](const torch::Tensor& w, const InputStats&) {
    return -at::arange(w.size(1)).to(at::kFloat).expand_as(w);
  });
  const auto result = Prune(keeps_left, unstructured(0.3)).compress(weight);
  CHECK(at::equal(result.mask, at::arange(10).lt(7).expand({4, 10})));
  CHECK(Prune(keeps_left, unstructured(0.3)).name() == "own 30%");
}

TEST_CASE("Prune: a criterion gets float32 and its errors come back unchanged") {
  const auto weight = seeded_normal({2, 4}, 5).to(at::kBFloat16);
  Prune(own([](const torch::Tensor& w, const InputStats&) {
          CHECK(w.scalar_type() == at::kFloat);
          return w;
        }),
        unstructured(0.5))
      .compress(weight);
  const Prune throws(own([](const torch::Tensor&, const InputStats&) -> torch::Tensor {
                       throw std::out_of_range("mine");
                     }),
                     unstructured(0.5));
  CHECK_THROWS_AS(throws.compress(weight), std::out_of_range);
}

TEST_CASE("Prune: scores of another shape, NaN scores and no function are refused") {
  const auto weight = seeded_normal({3, 4}, 6);
  const auto score = [&](torch::Tensor made) {
    return Prune(own([=](const torch::Tensor&, const InputStats&) { return made; }),
                 unstructured(0.5))
        .compress(weight, {"q_proj"});
  };
  CHECK_THROWS_WITH(score(at::ones({3})),
                    Catch::Contains("criterion 'own' must score every weight. "
                                    "Got [3] for [3, 4] in q_proj"));
  CHECK_THROWS_AS(score(torch::Tensor()), std::invalid_argument);
  CHECK_THROWS_AS(score(at::full({3, 4}, NAN)), NumericalError);
  CHECK_THROWS_AS(Prune(own({}), unstructured(0.5)), std::invalid_argument);
  CHECK_THROWS_WITH(Prune("random", unstructured(0.5)), Catch::Contains("magnitude, ria, wanda"));
}

TEST_CASE("Prune: exact counts where squares leave float32") {
  const auto x = seeded_normal({64, 40}, 7);
  const auto stats = stats_of(x);
  const auto plain = seeded_normal({10, 40}, 8);
  const auto want = Prune("wanda", unstructured(0.5)).compress(plain, stats);
  for (const double size : {0x1p-85, 0x1p100}) {  // 2.6e-26, 1.3e30
    INFO("weights times " << size);
    const auto got = Prune("wanda", unstructured(0.5)).compress(plain * size, stats);
    CHECK(got.sparsity == 0.5);
    CHECK(at::equal(got.mask, want.mask));
    CHECK(got.relative_error.value() == want.relative_error.value());
    CHECK(got.loss.value() == want.loss.value() * size * size);
    CHECK(at::equal(Prune("magnitude", unstructured(0.5)).compress(plain * size).mask,
                    Prune("magnitude", unstructured(0.5)).compress(plain).mask));
  }
  auto huge = plain.clone();
  huge[2][5] = 3e38f;
  for (const char* name : {"magnitude", "wanda"}) {
    const auto got = Prune(name, unstructured(0.5)).compress(huge, stats);
    CHECK(got.weight[2][5].item<float>() == 3e38f);
    CHECK(got.sparsity == 0.5);
    CHECK(std::isfinite(got.relative_error.value()));
  }
}

TEST_CASE("Prune: all-zero weights") {
  const auto stats = stats_of(seeded_normal({16, 8}, 9));
  const auto got = Prune("wanda", unstructured(0.5)).compress(at::zeros({4, 8}), stats);
  CHECK(got.mask.sum().item<int64_t>() == 16);
  CHECK(got.sparsity == 1.0);
  CHECK(got.loss.value() == 0.0);
  CHECK_FALSE(got.relative_error.has_value());  // 0 / 0 is no error at all
}

TEST_CASE("Prune: NaN and infinite weights are refused with layer and place") {
  for (const float bad : {NAN, INFINITY}) {
    auto weight = at::ones({3, 4});
    weight[1][2] = bad;
    const auto run = [&] { Prune("magnitude", unstructured(0.5)).compress(weight, {"k_proj"}); };
    CHECK_THROWS_AS(run(), NumericalError);
    CHECK_THROWS_WITH(run(),
                      Catch::Contains("weights must be finite. Got 1 that are not in k_proj, "
                                      "the first at row 1, column 2"));
  }
}

TEST_CASE("Prune: a task that cannot be is refused by name") {
  const auto weight = at::ones({3, 4});
  const Prune wanda("wanda", unstructured(0.5));
  const auto good = stats_of(at::ones({2, 4}));
  CHECK_THROWS_WITH(wanda.compress(weight, stats_of(at::ones({2, 5})), {"q"}),
                    Catch::Contains("Got 5 for weight [3, 4] in q"));
  CHECK_THROWS_WITH(wanda.compress(weight, InputStats(4, Needs::sum), {"q"}),
                    Catch::Contains("lack what the method needs"));
  CHECK_THROWS_AS(wanda.compress(weight, InputStats(4), {"q"}), NumericalError);
  CHECK_THROWS_WITH(wanda.compress(weight, InputStats(4), {"q"}),
                    Catch::Contains("0 tokens reached q"));
  CHECK_THROWS_AS(wanda.compress(at::ones({4}), good), std::invalid_argument);
  CHECK_THROWS_AS(wanda.compress(at::ones({3, 4}, at::kInt), good), std::invalid_argument);
  CHECK_THROWS_AS(wanda.compress(torch::Tensor()), std::invalid_argument);
  CHECK_THROWS_WITH(wanda.compress(weight, good, {"q", at::ones({4, 3}, at::kBool)}),
                    Catch::Contains("a mask has the shape of its weight. Got [4, 3]"));
  CHECK_THROWS_AS(wanda.compress(weight, good, {"q", at::ones({3, 4})}), std::invalid_argument);
}

TEST_CASE("Prune: an earlier mask stays zero and its zeros count") {
  const auto weight = seeded_normal({6, 20}, 10);
  const auto earlier = Prune("magnitude", row_wise(0.3)).compress(weight);
  const auto more = Prune("magnitude", row_wise(0.5)).compress(earlier.weight, {"w", earlier.mask});
  CHECK((more.mask.sum(1) == 10).all().item<bool>());
  CHECK_FALSE(at::logical_and(more.mask, earlier.mask.logical_not()).any().item<bool>());
  const auto less = Prune("magnitude", row_wise(0.1)).compress(earlier.weight, {"w", earlier.mask});
  CHECK(at::equal(less.mask, earlier.mask));  // what is gone stays gone
}

TEST_CASE("Prune: name and options say what was asked for") {
  const Prune prune("wanda", unstructured(0.5), {.rules = Rules::published});
  CHECK(prune.name() == "wanda 50%");
  const auto json = nlohmann::json::parse(prune.options_json());
  CHECK(json["criterion"] == "wanda");
  CHECK(json["sparsity"] == 0.5);
  CHECK(json["scope"] == "row");
  CHECK(json["rules"] == "published");
  CHECK(nlohmann::json::parse(Prune("magnitude", n_of_m(2, 4)).options_json())["scope"] == "n:m");
  CHECK(Prune("magnitude", n_of_m(2, 4)).needs() == Needs::none);
}

TEST_CASE("nan_policy keep: rows that are not finite stay, the others are as without them") {
  auto weight = seeded_normal({5, 8}, 11);
  weight[1][3] = NAN;
  weight[4][0] = INFINITY;
  InputStats stats(8);
  stats.add(seeded_normal({30, 8}, 12));
  const Prune prune("wanda", n_of_m(2, 4));
  CHECK_THROWS_AS(prune.compress(weight, stats, {"q"}), NumericalError);
  const auto made = prune.compress(weight, stats, {.name = "q", .nan_policy = NanPolicy::keep});
  const auto good = at::tensor({0, 2, 3}, at::kLong);
  const auto alone = prune.compress(weight.index_select(0, good), stats);
  CHECK(at::equal(made.weight.index_select(0, good), alone.weight));
  CHECK(at::equal(made.mask.index_select(0, good), alone.mask));
  CHECK(at::isnan(made.weight[1]).sum().item<int64_t>() == 1);
  CHECK(made.mask[1].all().item<bool>());
  CHECK(made.relative_error.value() == alone.relative_error.value());
  CHECK_THAT(made.notes.back(), Catch::Contains("2 rows") && Catch::Contains("1, 4"));
  CHECK_THROWS_AS(parse_nan_policy("zero"), std::invalid_argument);
}
