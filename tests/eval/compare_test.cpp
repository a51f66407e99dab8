#include "cupel/eval/compare.h"

#include "support/catch.h"
#include <cmath>

using namespace cupel;

namespace {

EvalResult scores(const std::vector<double>& losses, const std::string& task = "perplexity") {
  Perplexity p;
  p.protocol = "gptq";
  p.length = 8;
  p.windows = static_cast<int64_t>(losses.size());
  p.file_sha256 = "text";
  p.tokenizer = "tokenizer";
  p.window_losses = losses;
  p.window_tokens.assign(losses.size(), 7);
  for (const double loss : losses) p.loss += loss / static_cast<double>(losses.size());
  p.value = std::exp(p.loss);
  EvalResult made;
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
  const EvalResult dense = scores({1.0, 2.0});
  const auto refused = [&](auto change, const char* what) {
    EvalResult other = dense;
    change(other.perplexities.at("perplexity"));
    CHECK_THROWS_AS(compare(dense, other), std::invalid_argument);
    CHECK_THROWS_WITH(compare(dense, other),
                      Catch::Contains("must be scored alike") && Catch::Contains(what));
  };
  refused([](Perplexity& p) { p.file_sha256 = "other"; }, "text text and other");
  refused([](Perplexity& p) { p.length = 16; }, "length 8 and 16");
  refused([](Perplexity& p) { p.tokenizer = "other"; }, "tokenizer tokenizer and other");
  refused([](Perplexity& p) { p.protocol = "other"; }, "protocol gptq and other");
  refused([](Perplexity& p) { p.window_losses.pop_back(); }, "blocks 2 and 1");
}

TEST_CASE("compare: what both hold is paired, nothing in common is an error") {
  EvalResult dense = scores({1.0, 2.0}), other = scores({1.0, 3.0});
  other.perplexities["perplexity:length=4"] = other.perplexities.at("perplexity");
  CHECK(compare(dense, other).perplexities.size() == 1);
  CHECK_THROWS_WITH(compare(dense, scores({1.0}, "else")), Catch::Contains("share no task"));
  CHECK_THROWS_AS(compare(EvalResult(), EvalResult()), std::invalid_argument);
}

namespace {

// A task with one value an item: right or wrong, or anything else.
EvalResult quiz(const std::vector<double>& values, const std::vector<std::string>& answers = {}) {
  EvalResult made;
  auto& items = made.items["quiz"]["strict"];
  for (std::size_t i = 0; i < values.size(); ++i) {
    items.push_back({std::to_string(i),
                     "",
                     answers.empty() ? (values[i] == 1 ? "right" : "wrong") : answers[i],
                     "right",
                     {{"accuracy", values[i]}}});
  }
  RunManifest manifest;
  manifest.task = "quiz";
  manifest.protocols = {"strict"};
  manifest.data_sha256 = "data";
  made.manifests["quiz"] = manifest;
  return made;
}

std::vector<double> repeated(double value, int64_t count) {
  return std::vector<double>(static_cast<std::size_t>(count), value);
}

std::vector<double> joined(std::vector<double> a, const std::vector<double>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("compare: items are paired, counted and tested") {
  // 60 items: 40 right twice, 9 became wrong, 1 became right, 10 wrong twice.
  std::vector<double> dense = joined(repeated(1, 49), repeated(0, 11));
  std::vector<double> compressed =
      joined(joined(repeated(1, 40), repeated(0, 9)), joined({1}, repeated(0, 10)));
  std::vector<std::string> answers(60, "wrong");
  for (int i = 0; i < 60; ++i) answers[i] = compressed[i] == 1 ? "right" : "wrong";
  answers[59] = "another";  // wrong as before, and another answer
  const auto comparison = compare(quiz(dense), quiz(compressed, answers));
  CHECK(comparison.perplexities.empty());
  REQUIRE(comparison.tasks.size() == 1);
  const PairedTask& got = comparison.tasks[0];
  CHECK(got.task == "quiz");
  CHECK(got.protocol == "strict");
  CHECK(got.metric == "accuracy");
  CHECK(got.items == 60);
  CHECK(got.dense == Approx(49.0 / 60));
  CHECK(got.compressed == Approx(41.0 / 60));
  CHECK(got.difference == Approx(-8.0 / 60));
  CHECK(got.low < got.difference);
  CHECK(got.high > got.difference);
  CHECK(got.high < 0);
  CHECK(got.flips.right_to_wrong == 9);
  CHECK(got.flips.wrong_to_right == 1);
  CHECK(got.flips.changed_wrong == 1);
  CHECK(got.flips.same == 49);
  // Exact McNemar of 9 and 1: 2 (1 + 10) / 2^10.
  CHECK(got.p == Approx(22.0 / 1024));
  CHECK(got.p_holm == got.p);
  CHECK(got.minimum_detectable_effect > 0);
  CHECK(got.verdict == "undecided");  // 41 against 0.95 * 49
  const auto strict = compare(quiz(dense), quiz(compressed, answers), {.matching = 1});
  CHECK(strict.tasks[0].verdict == "not matching");
  CHECK(compare(quiz(dense), quiz(dense)).tasks[0].verdict == "matching");
  CHECK(compare(quiz(dense), quiz(dense)).tasks[0].p == 1);
  CHECK(compare(quiz({1, 0, 1, 1}), quiz({1, 1, 0, 1})).tasks[0].verdict == "undecided");
}

TEST_CASE("compare: Holm looks at every test, and other numbers have none") {
  EvalResult dense = quiz(joined(repeated(1, 12), repeated(0, 12)));
  EvalResult other = quiz(joined(repeated(0, 12), repeated(0, 12)));
  for (auto* side : {&dense, &other}) {
    side->items["second"] = side->items.at("quiz");
    side->manifests["second"] = side->manifests.at("quiz");
    for (auto& item : side->items["quiz"]["strict"]) item.values["score"] = -0.5;
  }
  const auto tasks = compare(dense, other).tasks;
  REQUIRE(tasks.size() == 3);
  CHECK(tasks[0].metric == "accuracy");
  CHECK(tasks[0].p_holm == Approx(2 * tasks[0].p));
  CHECK(tasks[1].metric == "score");
  CHECK(std::isnan(tasks[1].p));
  CHECK(std::isnan(tasks[1].p_holm));
  CHECK(tasks[1].flips.items == 0);
  CHECK(tasks[1].verdict.empty());
  CHECK(tasks[2].p_holm == Approx(2 * tasks[2].p));
}

TEST_CASE("compare: the seed decides the intervals") {
  std::vector<double> dense, compressed;
  for (int i = 0; i < 50; ++i) {
    dense.push_back(i % 3 == 0);
    compressed.push_back(i % 4 == 0);
  }
  const auto low = [&](uint64_t seed) {
    return compare(quiz(dense), quiz(compressed), {.seed = seed, .draws = 500}).tasks[0].low;
  };
  CHECK(low(1) == low(1));
  const auto wide = compare(quiz(dense), quiz(compressed), {.level = 0.99}).tasks[0];
  const auto narrow = compare(quiz(dense), quiz(compressed), {.level = 0.5}).tasks[0];
  CHECK(wide.low < narrow.low);
  CHECK(wide.high > narrow.high);
}

TEST_CASE("compare: tasks that did not run alike are refused by what differs") {
  const EvalResult dense = quiz({1, 0, 1});
  const auto refused = [&](auto change, const char* what) {
    EvalResult other = dense;
    change(other);
    CHECK_THROWS_AS(compare(dense, other), std::invalid_argument);
    CHECK_THROWS_WITH(compare(dense, other),
                      Catch::Contains("must be scored alike") && Catch::Contains(what));
  };
  const auto manifest = [](EvalResult& result) -> RunManifest& {
    return result.manifests.at("quiz");
  };
  refused([&](auto& r) { manifest(r).data_sha256 = "x"; }, "data.sha256: data and x");
  refused([&](auto& r) { manifest(r).options["shots"] = "5"; }, "options.shots: nothing and 5");
  refused([&](auto& r) { manifest(r).seed = 1; }, "seed: 0 and 1");
  refused([&](auto& r) { manifest(r).tokenizer = "t"; }, "tokenizer:");
  refused([&](auto& r) { manifest(r).scorer["boundary"] = "split"; }, "scorer.boundary");
  refused([&](auto& r) { r.manifests.clear(); }, "a manifest");
  refused([&](auto& r) { r.items["quiz"]["strict"].pop_back(); }, "items 3 and 2");
  refused([&](auto& r) { r.items["quiz"]["strict"][1].id = "other"; }, "item 1 and other");
  EvalResult other = dense;
  manifest(other).model = "another model";
  manifest(other).cupel = "another version";
  CHECK_NOTHROW(compare(dense, other));
}

TEST_CASE("compare: what is out of the ordinary is said") {
  EvalResult dense = quiz({1, 0, 1}), other = quiz({1, 0, 0});
  dense.model.fingerprint = other.model.fingerprint = "same";
  other.model.dtype = "Half";
  other.perplexities["perplexity"] = scores({1.0}).perplexities.at("perplexity");
  const auto comparison = compare(dense, other);
  CHECK(comparison.unpaired == std::vector<std::string>{"perplexity"});
  REQUIRE(comparison.notes.size() == 2);
  CHECK(comparison.notes[0] == "Both sides are the same model.");
  CHECK_THAT(comparison.notes[1], Catch::Contains("dtype"));
  CHECK_THAT(comparison.to_markdown(), Catch::Contains("Only one side has perplexity."));
  CHECK_THAT(comparison.to_json(), Catch::Contains("\"verdict\""));
}
