#include "cupel/eval/compare.h"

#include "support/catch.h"
#include <cmath>

using namespace cupel;

namespace {

Scores scores(const std::vector<double>& losses, const std::string& task = "perplexity") {
  Perplexity p;
  p.protocol = "gptq";
  p.length = 8;
  p.windows = static_cast<int64_t>(losses.size());
  p.file_sha256 = "text";
  p.tokenizer = "tokenizer";
  p.window_losses = losses;
  for (const double loss : losses) p.loss += loss / static_cast<double>(losses.size());
  p.value = std::exp(p.loss);
  Scores made;
  made.perplexities[task] = p;
  return made;
}

}  // namespace

TEST_CASE("compare: differences are paired window by window") {
  const auto got = compare(scores({2.0, 1.0, 3.0}), scores({2.5, 1.1, 3.9})).perplexities;
  REQUIRE(got.size() == 1);
  CHECK(got[0].task == "perplexity");
  CHECK(got[0].dense == Approx(std::exp(2.0)));
  CHECK(got[0].compressed == Approx(std::exp(2.5)));
  CHECK(got[0].ratio == Approx(std::exp(0.5)));
  CHECK(got[0].loss_difference == Approx(0.5));
  // Differences 0.5, 0.1, 0.9: variance 0.16, over three windows.
  CHECK(got[0].standard_error == Approx(std::sqrt(0.16 / 3)));
}

TEST_CASE("compare: a constant difference has no error, one window none to speak of") {
  CHECK(compare(scores({1.0, 2.0}), scores({1.5, 2.5})).perplexities[0].standard_error ==
        Approx(0.0).margin(1e-12));
  CHECK(std::isnan(compare(scores({1.0}), scores({1.5})).perplexities[0].standard_error));
  const auto same = compare(scores({1.0, 2.0}), scores({1.0, 2.0})).perplexities[0];
  CHECK(same.ratio == 1.0);
  CHECK(same.loss_difference == 0.0);
}

TEST_CASE("compare: numbers that were not measured alike are refused") {
  const Scores dense = scores({1.0, 2.0});
  const auto refused = [&](auto change, const char* what) {
    Scores other = dense;
    change(other.perplexities.at("perplexity"));
    CHECK_THROWS_AS(compare(dense, other), std::invalid_argument);
    CHECK_THROWS_WITH(compare(dense, other),
                      Catch::Contains("must be scored alike") && Catch::Contains(what));
  };
  refused([](Perplexity& p) { p.file_sha256 = "other"; }, "text text and other");
  refused([](Perplexity& p) { p.length = 16; }, "length 8 and 16");
  refused([](Perplexity& p) { p.tokenizer = "other"; }, "tokenizer tokenizer and other");
  refused([](Perplexity& p) { p.protocol = "other"; }, "protocol gptq and other");
  refused([](Perplexity& p) { p.window_losses.pop_back(); }, "windows 2 and 1");
}

TEST_CASE("compare: what both hold is paired, nothing in common is an error") {
  Scores dense = scores({1.0, 2.0}), other = scores({1.0, 3.0});
  other.perplexities["perplexity:length=4"] = other.perplexities.at("perplexity");
  CHECK(compare(dense, other).perplexities.size() == 1);
  CHECK_THROWS_WITH(compare(dense, scores({1.0}, "else")), Catch::Contains("share no task"));
  CHECK_THROWS_AS(compare(Scores(), Scores()), std::invalid_argument);
}
