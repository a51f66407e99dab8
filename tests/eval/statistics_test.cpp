// Numbers marked "CPython" were computed with random.Random; the others by hand.
#include "cupel/eval/statistics.h"

#include "cupel/core/error.h"
#include "cupel/core/progress.h"
#include "support/catch.h"

#include <cmath>
#include <limits>
#include <stdexcept>

using namespace cupel;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Scores 0 or 1 of `items` items; every `period`-th is 0.
std::vector<double> misses(int items, int period) {
  std::vector<double> scores(items, 1.0);
  for (int i = 0; i < items; i += period) scores[i] = 0;
  return scores;
}

bool same(const Estimate& a, const Estimate& b) {
  return a.value == b.value && a.standard_error == b.standard_error && a.low == b.low &&
         a.high == b.high;
}

bool unknown(const Estimate& a) {
  return std::isnan(a.standard_error) && std::isnan(a.low) && std::isnan(a.high);
}

}  // namespace

TEST_CASE("mcnemar: a published example and both sides of 25 discordant items") {
  // Fagerland et al. 2013, table 1: 7 against 1 gives 0.0703 and mid-p 0.0391.
  const McNemar small = mcnemar(7, 1);
  CHECK(small.exact == Approx(18.0 / 256));
  CHECK(small.mid_p == Approx(10.0 / 256));
  CHECK(small.statistic == Approx(25.0 / 8));
  CHECK(small.corrected == Approx(std::erfc(1.25)));
  CHECK(small.p == small.exact);
  CHECK(mcnemar(20, 4).p == mcnemar(20, 4).exact);
  CHECK(mcnemar(20, 5).p == mcnemar(20, 5).corrected);
  CHECK(mcnemar(20, 5).statistic == Approx(196.0 / 25));
}

TEST_CASE("mcnemar: nothing changed, or as much either way") {
  const McNemar none = mcnemar(0, 0);
  CHECK((none.exact == 1 && none.mid_p == 1 && none.corrected == 1 && none.p == 1));
  const McNemar even = mcnemar(2, 2);
  CHECK(even.exact == 1);
  CHECK(even.mid_p == Approx(1 - 6.0 / 32));  // half of P(X = 2) = 6 / 16
  CHECK(even.statistic == 0);
  CHECK(even.corrected == 1);
  CHECK(mcnemar(3, 2).exact == Approx(1));
  CHECK_THROWS_WITH(mcnemar(-1, 2), Catch::Contains("[mcnemar] counts lie in [0, 2^40]. Got -1"));
}

TEST_CASE("mcnemar: symmetric, and sound for large counts") {
  CHECK(mcnemar(40, 13).exact == mcnemar(13, 40).exact);
  CHECK(mcnemar(40, 13).mid_p == mcnemar(13, 40).mid_p);
  CHECK(mcnemar(0, int64_t{1} << 40).exact == 0);
  // For many items the binomial is normal.
  const McNemar large = mcnemar((int64_t{1} << 40) - 2000000, int64_t{1} << 40);
  CHECK(large.exact == Approx(large.corrected).epsilon(1e-6));
}

TEST_CASE("count_flips: four kinds that add up") {
  const Flips flips = count_flips({1, 1, 0, 0, 0, 1}, {1, 0, 1, 0, 0, 0},
                                  {"a", "a", "b", "c", "d", "e"}, {"A", "b", "a", "c", "x", "f"});
  CHECK(flips.right_to_wrong == 2);
  CHECK(flips.wrong_to_right == 1);
  CHECK(flips.changed_wrong == 1);
  CHECK(flips.same == 2);  // an answer that stays right may be worded otherwise
  CHECK(flips.items == 6);
  CHECK(flips.rate() == Approx(0.5));
  CHECK(flips.net() == Approx(-1.0 / 6));
  CHECK_THROWS_WITH(count_flips({1}, {1, 0}, {"a"}, {"a"}), Catch::Contains("1 and 2 verdicts"));
  CHECK_THROWS_WITH(count_flips({}, {}, {}, {}), Catch::Contains("there must be items"));
}

TEST_CASE("paired_bootstrap: the draws are those of the documented generators") {
  const auto got =
      paired_bootstrap({1, 2, 4, 3, 0.5}, {1.5, 1, 3.5, 3, 0.25}, {.draws = 20, .seed = 7});
  CHECK(got.items == 5);
  CHECK(got.draws == 20);
  CHECK(got.difference.value == Approx(1.85 - 2.1));
  CHECK(got.difference.standard_error == Approx(0.23424009275235438));  // CPython, and below
  CHECK(got.difference.low == Approx(-0.57625));
  CHECK(got.difference.high == Approx(0.07625));
  CHECK(got.ratio.value == Approx(1.85 / 2.1));
  CHECK(got.ratio.standard_error == Approx(0.12638601812063296));
  CHECK(got.ratio.low == Approx(0.6765625));
  CHECK(got.ratio.high == Approx(1.0590909090909089));
}

TEST_CASE("paired_bootstrap: pairing removes what both models share") {
  std::vector<double> dense, compressed;
  for (int i = 0; i < 200; ++i) {
    dense.push_back(i);
    compressed.push_back(i - 0.5);
  }
  const auto got = paired_bootstrap(dense, compressed, {.draws = 500});
  CHECK(got.difference.value == Approx(-0.5));
  CHECK(got.difference.standard_error == Approx(0).margin(1e-12));
  CHECK(got.difference.low == Approx(-0.5));
  CHECK(got.difference.high == Approx(-0.5));
}

TEST_CASE("paired_bootstrap: the error is that of the mean") {
  const auto dense = misses(900, 3), compressed = misses(900, 2);
  const auto got = paired_bootstrap(dense, compressed);
  double squares = 0;
  for (int i = 0; i < 900; ++i) {
    squares += std::pow(compressed[i] - dense[i] - got.difference.value, 2);
  }
  const double expected = std::sqrt(squares / 900 / 900);
  // An error from 10,000 draws is itself known to 1 / sqrt(20000) = 0.7 %: 3 % is four times that.
  CHECK(got.difference.standard_error == Approx(expected).epsilon(0.03));
  // A bound's own error is about 2.7 / sqrt(10000) standard errors, at the 97.5 % point.
  CHECK(got.difference.low ==
        Approx(got.difference.value - 1.96 * expected).margin(0.15 * expected));
  CHECK(got.difference.high ==
        Approx(got.difference.value + 1.96 * expected).margin(0.15 * expected));
}

TEST_CASE("paired_bootstrap: strata keep their sizes") {
  const std::vector<double> dense{0, 1, 0, 1, 1, 1}, compressed{0, 0, 0, 0, 0, 1};
  const auto plain = paired_bootstrap(dense, compressed, {.draws = 300});
  CHECK(same(plain.difference,
             paired_bootstrap(dense, compressed, {.draws = 300, .strata = {9, 9, 9, 9, 9, 9}})
                 .difference));
  // Differences 0, -1, 0, -1, -1, 0: alike within each stratum, so no draw differs from the data.
  const auto strata =
      paired_bootstrap(dense, compressed, {.draws = 300, .strata = {1, 2, 1, 2, 2, 1}});
  CHECK(strata.difference.value == plain.difference.value);
  CHECK(strata.difference.standard_error == Approx(0).margin(1e-15));
  CHECK(strata.difference.low == Approx(-0.5));
  CHECK(strata.difference.high == Approx(-0.5));
}

TEST_CASE("paired_bootstrap: clusters are drawn whole") {
  const std::vector<double> dense{1, 2, 4, 3, 0.5}, compressed{1.5, 1, 3.5, 3, 0.25};
  std::vector<double> dense_twice, compressed_twice;
  std::vector<int64_t> labels;
  for (int copy = 0; copy < 2; ++copy) {
    for (int i = 0; i < 5; ++i) {
      dense_twice.push_back(dense[i]);
      compressed_twice.push_back(compressed[i]);
      labels.push_back(i);
    }
  }
  // Each item asked twice says no more than once: the same draws, the same numbers.
  const auto once = paired_bootstrap(dense, compressed, {.draws = 400});
  const auto twice =
      paired_bootstrap(dense_twice, compressed_twice, {.draws = 400, .clusters = labels});
  CHECK(same(once.difference, twice.difference));
  CHECK(same(once.ratio, twice.ratio));
  // Clusters of different sizes: a draw's mean is over the items that it holds.
  const auto uneven = paired_bootstrap({0, 0, 0}, {1, 1, 0}, {.draws = 200, .clusters = {5, 5, 6}});
  CHECK(uneven.difference.value == Approx(2.0 / 3));
  CHECK(uneven.difference.low == 0);
  CHECK(uneven.difference.high == 1);
}

TEST_CASE("paired_bootstrap: what cannot be said is NaN") {
  CHECK(unknown(paired_bootstrap({1}, {2}).difference));
  CHECK(unknown(paired_bootstrap({1, 1}, {2, 0}, {.strata = {0, 1}}).difference));
  CHECK(unknown(paired_bootstrap({1, 1}, {2, 0}, {.clusters = {4, 4}}).difference));
  CHECK(paired_bootstrap({1}, {2}).ratio.value == 2);
  const auto no_score = paired_bootstrap({0, 0, 0}, {1, 0, 1});
  CHECK(std::isnan(no_score.ratio.value));
  CHECK(unknown(no_score.ratio));
  CHECK(no_score.difference.value == Approx(2.0 / 3));
  // A dense mean of 0 in some draws: (2 / 3)^3 of them hold only items of score 0.
  const auto rare = paired_bootstrap({1, 0, 0}, {1, 0, 1});
  CHECK(rare.ratio.value == Approx(2));
  CHECK(unknown(rare.ratio));
  CHECK_FALSE(unknown(rare.difference));
  const auto one_draw = paired_bootstrap({1, 2}, {2, 4}, {.draws = 1});
  CHECK(std::isnan(one_draw.difference.standard_error));
  CHECK(one_draw.difference.low == one_draw.difference.high);
}

TEST_CASE("paired_bootstrap: seeds differ, calls do not, and the caller may stop it") {
  const auto dense = misses(50, 3), compressed = misses(50, 4);
  const auto with = [&](uint64_t seed) {
    return paired_bootstrap(dense, compressed, {.draws = 1000, .seed = seed}).difference;
  };
  CHECK(same(with(3), with(3)));
  CHECK_FALSE(same(with(3), with(4)));
  const WorkScope stop([] { throw Cancelled(); });
  CHECK_THROWS_AS(paired_bootstrap(misses(100000, 3), misses(100000, 4)), Cancelled);
}

TEST_CASE("paired_bootstrap: mistakes are named") {
  const auto refused = [](std::vector<double> dense, const BootstrapOptions& options,
                          const char* what) {
    CHECK_THROWS_AS(paired_bootstrap(dense, {1, 2}, options), std::invalid_argument);
    CHECK_THROWS_WITH(paired_bootstrap(dense, {1, 2}, options),
                      Catch::StartsWith("[paired_bootstrap] ") && Catch::Contains(what));
  };
  refused({1}, {}, "Got 1 and 2 scores.");
  refused({1, 2}, {.draws = 0}, "draws is at least 1. Got 0.");
  refused({1, 2}, {.level = 1}, "level lies in (0, 1). Got 1.");
  refused({1, 2}, {.level = kNaN}, "level lies in (0, 1). Got nan.");
  refused({1, 2}, {.strata = {1}}, "strata need one label an item. Got 1 for 2 items.");
  refused({1, 2}, {.clusters = {1, 2, 3}}, "clusters need one label an item. Got 3 for 2 items.");
  refused({1, 2}, {.strata = {1, 2}, .clusters = {1, 2}}, "not both");
  CHECK_THROWS_WITH(paired_bootstrap({}, {}), Catch::Contains("there must be items. Got none."));
  CHECK_THROWS_AS(paired_bootstrap({1, kNaN}, {1, 2}), NumericalError);
  CHECK_THROWS_WITH(paired_bootstrap({1, 2}, {1, kInfinity}),
                    Catch::Contains("Got inf for item 1 of the compressed model."));
}

TEST_CASE("matching: the paper's rule on the paper's numbers") {
  // LLM-KICK, table 3, of the dense 65.44 in Factoid QA: magnitude at 10 and 20 %, SparseGPT at 20 %.
  CHECK_FALSE(matching(65.44, 61.74));
  CHECK(matching(65.44, 66.53));
  CHECK(matching(65.44, 62.44));
  CHECK(matching(0.471, 0.455));  // MMLU at 30 %: Wanda holds, SparseGPT does not
  CHECK_FALSE(matching(0.471, 0.437));
  CHECK(matching(0.471, 0.437, 0.9));
  CHECK(matching(540 / 1001.0, 513 / 1001.0));  // 0.95 exactly: below it only by rounding
  CHECK_FALSE(matching(540 / 1001.0, 512 / 1001.0));
  CHECK(matching(0, 0));
  CHECK_THROWS_WITH(matching(1, 1, 0), Catch::Contains("fraction lies in (0, 1]. Got 0."));
  CHECK_THROWS_WITH(matching(-1, 1), Catch::Contains("scores are not negative. Got -1."));
}

TEST_CASE("matching_verdict: three outcomes") {
  const auto dense = misses(1000, 3);
  const auto equal = matching_verdict(dense, dense);
  CHECK(equal.verdict == Match::matching);
  CHECK(equal.score_matches);
  CHECK(equal.margin.value == Approx(0.05 * equal.dense));
  const auto worse = matching_verdict(dense, misses(1000, 2));  // 0.5 of 0.666
  CHECK(worse.verdict == Match::not_matching);
  CHECK_FALSE(worse.score_matches);
  CHECK(worse.margin.high < 0);
  // The same means, but of 30 items.
  const auto few = matching_verdict(misses(30, 3), misses(30, 2));
  CHECK(few.verdict == Match::undecided);
  CHECK_FALSE(few.score_matches);
  CHECK((few.margin.low < 0 && few.margin.high > 0));
  CHECK(matching_verdict({1}, {1}).verdict == Match::undecided);  // one item decides nothing
  CHECK(matching_verdict({1}, {1}).score_matches);
}

TEST_CASE("matching_verdict: a tie counts as matching; words; mistakes") {
  const double dense = 540 / 1001.0, least = 513 / 1001.0;
  CHECK(matching_verdict({dense, dense}, {least, least}).verdict == Match::matching);
  CHECK(matching_verdict({1, 1, 1}, {0.9, 0.9, 0.9}).verdict == Match::not_matching);
  CHECK(matching_verdict({1, 1, 1}, {0.9, 0.9, 0.9}, 0.9).verdict == Match::matching);
  CHECK(to_string(Match::matching) == "matching");
  CHECK(to_string(Match::not_matching) == "not matching");
  CHECK(to_string(Match::undecided) == "undecided");
  CHECK_THROWS_WITH(matching_verdict({1, 2}, {1, -2}),
                    Catch::Contains("[matching_verdict] scores are not negative. Got -2."));
  CHECK_THROWS_WITH(matching_verdict({1, 2}, {1, 2}, 1.5), Catch::Contains("fraction lies in"));
  CHECK_THROWS_WITH(matching_verdict({1, 2}, {1}), Catch::Contains("Got 2 and 1 scores."));
  CHECK_THROWS_AS(matching_verdict({1, kNaN}, {1, 2}), NumericalError);
}

TEST_CASE("paired_loss: blocks of one length give the paired error of a mean") {
  const auto got = paired_loss({20, 10, 30}, {25, 11, 39}, {10, 10, 10});
  CHECK(got.blocks == 3);
  CHECK(got.tokens == 30);
  CHECK(got.dense == Approx(2));
  CHECK(got.compressed == Approx(2.5));
  CHECK(got.ln_ratio.value == Approx(0.5));
  const double error = std::sqrt(0.16 / 3);  // per token 0.5, 0.1, 0.9: variance 0.16
  CHECK(got.ln_ratio.standard_error == Approx(error));
  CHECK(got.ln_ratio.low == Approx(0.5 - 4.302652729911275 * error));  // t of 2 degrees of freedom
  CHECK(got.ln_ratio.high == Approx(0.5 + 4.302652729911275 * error));
  CHECK(got.ratio.value == Approx(std::exp(0.5)));
  CHECK(got.ratio.standard_error == Approx(std::exp(0.5) * error));
  CHECK(got.ratio.low == Approx(std::exp(got.ln_ratio.low)));
  CHECK(got.ratio.high == Approx(std::exp(got.ln_ratio.high)));
  // Residuals 0, -10, 10 and 0, -14, 14.
  CHECK(got.correlation == Approx(1));
  CHECK(got.unpaired_standard_error == Approx(std::sqrt(1.5 * (200 + 392)) / 30));
}

TEST_CASE("paired_loss: blocks of different lengths weigh by their tokens") {
  const auto got = paired_loss({2, 2}, {3, 4}, {1, 3}, 0.9);
  CHECK(got.ln_ratio.value == Approx(0.75));
  CHECK(got.ln_ratio.standard_error == Approx(std::sqrt(2 * 0.125) / 4));  // residuals +-0.25
  CHECK(got.ln_ratio.high == Approx(0.75 + 6.313751514675043 * 0.125));    // t of 1 degree
  // Loss in proportion to tokens: every block says the same.
  const auto even = paired_loss({0.1, 0.2, 0.7}, {0.2, 0.4, 1.4}, {1, 2, 7});
  CHECK(even.ln_ratio.standard_error == Approx(0).margin(1e-15));
  CHECK(std::isnan(even.correlation));
}

TEST_CASE("paired_loss: the three errors are one law of cosines") {
  const std::vector<double> dense{31, 55, 18, 44, 70}, compressed{33, 52, 21, 50, 71};
  const std::vector<int64_t> tokens{10, 20, 8, 15, 24};
  const auto got = paired_loss(dense, compressed, tokens);
  const double before = block_standard_error(dense, tokens);
  const double after = block_standard_error(compressed, tokens);
  CHECK(got.unpaired_standard_error == Approx(std::hypot(before, after)));
  CHECK(std::pow(got.ln_ratio.standard_error, 2) ==
        Approx(before * before + after * after - 2 * got.correlation * before * after));
  CHECK(got.correlation < 1);
}

TEST_CASE("paired_loss: one block has no error, and mistakes name the block") {
  const auto one = paired_loss({2}, {3}, {4});
  CHECK(one.ln_ratio.value == Approx(0.25));
  CHECK((unknown(one.ln_ratio) && unknown(one.ratio)));
  CHECK((std::isnan(one.correlation) && std::isnan(one.unpaired_standard_error)));
  CHECK_THROWS_AS(paired_loss({1, kNaN}, {1, 2}, {1, 1}), NumericalError);
  CHECK_THROWS_WITH(paired_loss({1, 2}, {1, kInfinity}, {1, 1}),
                    Catch::Contains("Got inf of the compressed model in block 1."));
  CHECK_THROWS_AS(paired_loss({1, 2}, {1}, {1, 1}), std::invalid_argument);
  CHECK_THROWS_WITH(paired_loss({1, 2}, {1, 2}, {3, 0}), Catch::Contains("Got 0 in block 1."));
  CHECK_THROWS_WITH(paired_loss({}, {}, {}), Catch::Contains("there must be blocks"));
  CHECK_THROWS_WITH(paired_loss({1}, {1}, {1}, 0), Catch::Contains("level lies in (0, 1). Got 0."));
  const int64_t most = std::numeric_limits<int64_t>::max();
  CHECK_THROWS_WITH(paired_loss({1, 1}, {1, 1}, {most, 1}), Catch::Contains("must fit 64 bits"));
}

TEST_CASE("block_standard_error") {
  CHECK(block_standard_error({2, 4}, {1, 1}) == Approx(1));
  CHECK(block_standard_error({2, 4, 6}, {1, 2, 3}) == Approx(0).margin(1e-15));
  CHECK(std::isnan(block_standard_error({2}, {1})));
  CHECK_THROWS_WITH(block_standard_error({2, kNaN}, {1, 1}),
                    Catch::Contains("Got nan in block 1."));
  CHECK_THROWS_WITH(block_standard_error({2}, {1, 1}), Catch::Contains("Got 1 losses and 2 token"));
}

TEST_CASE("holm: stepped down, in the order given, never above 1") {
  const auto got = holm({0.01, 0.04, 0.03, 0.005});
  REQUIRE(got.size() == 4);
  CHECK(got[0] == Approx(0.03));
  CHECK(got[1] == Approx(0.06));  // 1 x 0.04 is raised to the 2 x 0.03 before it
  CHECK(got[2] == Approx(0.06));
  CHECK(got[3] == Approx(0.02));
  CHECK(holm({0.7, 0.6}) == std::vector<double>{1, 1});
  CHECK(holm({0.3}) == std::vector<double>{0.3});
  CHECK_THROWS_WITH(holm({0.5, 1.5}), Catch::Contains("Got 1.5 at index 1."));
  CHECK_THROWS_WITH(holm({kNaN}), Catch::Contains("p-values lie in [0, 1]. Got nan"));
  CHECK_THROWS_AS(holm({}), std::invalid_argument);
}

TEST_CASE("minimum_detectable_effect: solves Connor's formula") {
  const double a = 1.959963984540054, b = 0.8416212335729143;  // normal quantiles 0.975 and 0.8
  for (const double rate : {0.02, 0.1, 0.4, 1.0}) {
    const double d = minimum_detectable_effect(1000, rate);
    CHECK(std::pow((a * std::sqrt(rate) + b * std::sqrt(rate - d * d)) / d, 2) == Approx(1000));
  }
  CHECK(minimum_detectable_effect(4000, 0.1) < minimum_detectable_effect(1000, 0.1));
  CHECK(minimum_detectable_effect(1000, 0.1, 0.01) > minimum_detectable_effect(1000, 0.1));
  CHECK(minimum_detectable_effect(1000, 0.1, 0.05, 0.9) > minimum_detectable_effect(1000, 0.1));
  // Below power 1/2 the root is the other one.
  const double d = minimum_detectable_effect(1000, 0.1, 0.05, 0.2);
  CHECK(d * std::sqrt(1000) == Approx(a * std::sqrt(0.1) - b * std::sqrt(0.1 - d * d)));
}

TEST_CASE("minimum_detectable_effect: out of reach, and mistakes") {
  CHECK(minimum_detectable_effect(100, 0.02) == kInfinity);  // two discordant items show nothing
  CHECK(minimum_detectable_effect(1, 1) == kInfinity);
  CHECK_THROWS_WITH(minimum_detectable_effect(0, 0.1), Catch::Contains("Got 0."));
  CHECK_THROWS_WITH(minimum_detectable_effect(10, 0), Catch::Contains("fraction in (0, 1]. Got 0"));
  CHECK_THROWS_WITH(minimum_detectable_effect(10, 0.1, 1), Catch::Contains("significance lies in"));
  CHECK_THROWS_WITH(minimum_detectable_effect(10, 0.1, 0.05, 0.01),
                    Catch::Contains("power lies between significance and 1. Got 0.01"));
}

TEST_CASE("wilson: textbook values, exact ends") {
  const Interval half = wilson(5, 10);
  CHECK(half.low == Approx(0.236593090512564));
  CHECK(half.high == Approx(1 - 0.236593090512564));
  const double z2 = std::pow(1.959963984540054, 2);
  for (int n = 1; n < 30; ++n) CHECK((wilson(0, n).low == 0 && wilson(n, n).high == 1));
  CHECK(wilson(0, 10).high == Approx(z2 / (10 + z2)));
  CHECK(wilson(10, 10).low == Approx(10 / (10 + z2)));
  CHECK(wilson(5, 10, 0.5).low > half.low);
  CHECK_THROWS_WITH(wilson(11, 10, 0.95), Catch::Contains("Got 11 of 10."));
  CHECK_THROWS_WITH(wilson(0, 0, 0.95), Catch::Contains("there must be items. Got 0."));
  CHECK_THROWS_WITH(wilson(1, 10, 95), Catch::Contains("level lies in (0, 1). Got 95."));
}

TEST_CASE("quantile: linear between order statistics") {
  CHECK(quantile({4, 1, 3, 2}, 0) == 1);
  CHECK(quantile({4, 1, 3, 2}, 0.25) == 1.75);
  CHECK(quantile({4, 1, 3, 2}, 0.5) == 2.5);
  CHECK(quantile({4, 1, 3, 2}, 1) == 4);
  CHECK(quantile({7}, 0.3) == 7);
  CHECK_THROWS_WITH(quantile({}, 0.5), Catch::Contains("there must be values"));
  CHECK_THROWS_WITH(quantile({1}, 50), Catch::Contains("q lies in [0, 1]. Got 50."));
  CHECK_THROWS_AS(quantile({1, kNaN}, 0.5), NumericalError);
  CHECK_THROWS_WITH(quantile({1, kInfinity}, 0.5), Catch::Contains("Got inf at index 1."));
}
