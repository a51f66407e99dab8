// The engine behind ModelScorer: shared prefixes, rules for the join and for length, generation.
#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <algorithm>
#include <cmath>

#include "cupel/core/error.h"
#include "cupel/core/random.h"
#include "cupel/eval/scorer.h"
#include "cupel/model/model.h"
#include "eval/degenerate.h"
#include "support/fake_model.h"
#include "support/fake_tokenizer.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::FakeTokenizer;
using cupel::test::letters;

namespace {

// 32 letters-and-spaces ids inside the tiny model's 50.
constexpr int64_t kPositions = 512;

std::shared_ptr<Model> tiny(int64_t width = 2) {
  return test::tiny_model({.width = width, .positions = kPositions});
}

std::string words(PythonRandom& random, int64_t characters) {
  std::string text;
  for (int64_t i = 0; i < characters; ++i) {
    const auto c = random.below(27);
    text += c == 26 ? ' ' : static_cast<char>('a' + c);
  }
  return text;
}

// Questions under two headers, with choices of several tokens and of one.
std::vector<ScoredPair> questions(uint64_t seed, int64_t count) {
  PythonRandom random(seed);
  const std::string headers[] = {words(random, 90), words(random, 60)};
  std::vector<ScoredPair> pairs;
  for (int64_t i = 0; i < count; ++i) {
    const std::string context =
        headers[i % 2] + words(random, 5 + static_cast<int64_t>(random.below(40)));
    for (int64_t choice = 0; choice < 4; ++choice) {
      pairs.emplace_back(context, i % 3 == 0 ? std::string(1, static_cast<char>('c' + choice))
                                             : words(random, 2 + choice) + "x");
    }
  }
  return pairs;
}

std::vector<double> values(const std::vector<LogLikelihood>& results) {
  std::vector<double> all;
  for (const auto& result : results) all.push_back(result.value);
  return all;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("ModelScorer: sharing prefixes changes no score beyond rounding, and saves tokens") {
  const auto model = tiny();
  NativeTokenModel native(*model);
  const auto tokenizer = letters();
  const auto pairs = questions(1, 30);
  ModelScorer apart(native, tokenizer, {.share_prefixes = false});
  const auto want = values(apart.log_likelihood(pairs));
  for (const int64_t batch : {1, 64, 2048}) {
    ModelScorer scorer(native, tokenizer, {.batch_tokens = batch});
    const auto got = scorer.log_likelihood(pairs);
    CHECK(largest_difference(values(got), want) < 2e-4);  // sums of float32 log-probabilities
    CHECK(scorer.counts().run < apart.counts().run / 2);
    CHECK(scorer.counts().run + scorer.counts().shared ==
          apart.counts().run + apart.counts().shared);
  }
  // No memory for states: the same bytes, more work.
  ModelScorer poor(native, tokenizer, {.state_bytes = 0});
  ModelScorer rich(native, tokenizer);
  CHECK(values(poor.log_likelihood(pairs)) == values(rich.log_likelihood(pairs)));
}

TEST_CASE("ModelScorer: announced pairs score the same bytes in whatever calls came before") {
  const auto model = tiny();
  NativeTokenModel native(*model);
  const auto tokenizer = letters();
  const auto pairs = questions(2, 24);
  const std::vector<ScoredPair> first(pairs.begin(), pairs.begin() + 48),
      second(pairs.begin() + 48, pairs.end());
  ModelScorer whole(native, tokenizer), resumed(native, tokenizer);
  const auto costs = whole.prepare(pairs);
  REQUIRE(costs.size() == pairs.size());
  CHECK(costs[0] < 60);  // not the header of 90
  whole.log_likelihood(first);
  const auto undisturbed = values(whole.log_likelihood(second));
  resumed.prepare(pairs);
  CHECK(values(resumed.log_likelihood(second)) == undisturbed);
}

TEST_CASE("ModelScorer: a model without states scores alike, and says so") {
  const auto model = tiny();
  NativeTokenModel native(*model);
  CallableTokenModel stateless([&](const torch::Tensor& t) { return model->logits(t); },
                               {.vocabulary = 50, .max_length = kPositions});
  const auto tokenizer = letters();
  const auto pairs = questions(3, 6);
  ModelScorer with(native, tokenizer), without(stateless, tokenizer);
  CHECK(largest_difference(values(with.log_likelihood(pairs)),
                           values(without.log_likelihood(pairs))) < 2e-4);
  CHECK(with.info().settings.at("share_prefixes") == "true");
  CHECK(without.info().settings.at("share_prefixes") == "unavailable: the model keeps no states");
}

TEST_CASE("ModelScorer: verify_prefix finds a model whose states are wrong") {
  // Forgets everything before a state's last token, which a table of pairs would never show.
  struct Forgetful : NativeTokenModel {
    using NativeTokenModel::NativeTokenModel;
    std::vector<StatePtr> run(const std::vector<Row>& rows, const LogitSink& sink) override {
      auto changed = rows;
      for (auto& row : changed) {
        if (row.state) row.state = NativeTokenModel::run({{{3}, {}, {}, true}}, sink)[0];
      }
      return NativeTokenModel::run(changed, sink);
    }
  };
  const auto model = tiny();
  Forgetful wrong(*model);
  NativeTokenModel right(*model);
  const auto tokenizer = letters();
  const auto pairs = questions(4, 12);
  CHECK_NOTHROW(ModelScorer(right, tokenizer, {.verify_prefix = 10}).log_likelihood(pairs));
  ModelScorer scorer(wrong, tokenizer, {.verify_prefix = 10});
  CHECK_THROWS_AS(scorer.log_likelihood(pairs), NumericalError);
  CHECK_THROWS_WITH(scorer.log_likelihood(pairs), Catch::Contains("shared prefix"));
}

TEST_CASE("ModelScorer: NaN is never a score") {
  auto model = test::table_model(at::full({32, 32}, std::nanf("")));
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer);
  CHECK_THROWS_AS(scorer.log_likelihood({{"dog", "fish"}}), NumericalError);
  CHECK_THROWS_WITH(scorer.log_likelihood({{"dog", "fish"}}), Catch::Contains("'fish'"));
  CHECK_THROWS_AS(scorer.rolling_log_likelihood({"dog"}), NumericalError);
  CHECK_THROWS_AS(scorer.generate({{"dog", 3}}), NumericalError);
}

TEST_CASE("boundary: joint, split and harness choose what is scored") {
  const auto tokenizer = letters();
  auto model = test::table_model(test::seeded_normal({32, 32}, 1));
  const auto tokens = [&](const std::string& boundary, const std::string& context,
                          const std::string& continuation) {
    return ModelScorer(model, tokenizer, {.boundary = boundary})
        .log_likelihood({{context, continuation}})[0];
  };
  // "cabs" is c ab s, "ca" is c a: joint rescores "ab"; the harness keeps c a and scores s alone.
  CHECK(tokens("joint", "ca", "bs").tokens == 2);
  CHECK(tokens("split", "ca", "bs").tokens == 2);
  CHECK(tokens("harness", "ca", "bs").tokens == 1);
  CHECK(tokens("joint", "ca", "bs").flags == std::vector<std::string>{"boundary_shift"});
  CHECK(tokens("split", "ca", "bs").flags.empty());
  CHECK(tokens("harness", "ca", "bs").flags == std::vector<std::string>{"boundary_shift"});
  CHECK(tokens("split", "ca", "bs").value != tokens("joint", "ca", "bs").value);
  // "ca" + "b" is c ab: nothing is left for the harness, which dies there.
  CHECK(tokens("joint", "ca", "b").tokens == 1);
  CHECK_THROWS_WITH(tokens("harness", "ca", "b"), Catch::Contains("a token to score. Got 'b'"));
  // White space at the end of a context goes over to the continuation.
  CHECK(tokens("harness", "the ", "a").tokens == 1);  // " a" is one piece
  CHECK(tokens("harness", "the  ", "cat").tokens == 5);
  CHECK_THROWS_WITH(tokens("other", "a", "b"), Catch::Contains("joint, split or harness"));
}

TEST_CASE("bos: as the tokenizer says, always, or never") {
  const auto table = test::seeded_normal({32, 32}, 1);
  auto model = test::table_model(table);
  const auto score = [&](bool adds, const std::string& bos) {
    const auto tokenizer = letters(adds);
    return ModelScorer(model, tokenizer, {.bos = bos}).rolling_log_likelihood({"dog"})[0];
  };
  CHECK(score(true, "auto").value == score(false, "always").value);
  CHECK(score(true, "always").value == score(true, "auto").value);  // one BOS, not two
  const auto bare = letters(false, false);
  CHECK_THROWS_WITH(ModelScorer(model, bare, {.bos = "always"}), Catch::Contains("has BOS"));
  CHECK_THROWS_WITH(ModelScorer(model, bare, {.bos = "maybe"}), Catch::Contains("auto, always"));
  CHECK_THROWS_WITH(ModelScorer(model, bare, {.boundary = "harness", .bos = "never"}),
                    Catch::Contains("leaves BOS to the tokenizer"));
}

TEST_CASE("over_long: the beginning is dropped only when that was asked for, and flagged") {
  const auto table = test::seeded_normal({32, 32}, 1);
  auto model = test::table_model(table, 8);
  const auto tokenizer = letters();
  CHECK_THROWS_WITH(ModelScorer(model, tokenizer).log_likelihood({{"cdefghijkl", "mn"}}),
                    Catch::Contains("truncate_left"));
  ModelScorer scorer(model, tokenizer, {.over_long = "truncate_left"});
  const auto got = scorer.log_likelihood({{"cdefghijkl", "mn"}, {"l", "mn"}});
  CHECK(got[0].flags == std::vector<std::string>{"truncated"});
  CHECK(got[0].value == Approx(got[1].value).epsilon(1e-6));  // a table looks back one token
  CHECK(got[1].flags.empty());
  CHECK_THROWS_WITH(scorer.log_likelihood({{"c", "defghijklmno"}}),
                    Catch::Contains("what is scored must fit"));
  const auto made = scorer.generate({{"cdefghijkl", 3}})[0];
  CHECK(std::count(made.flags.begin(), made.flags.end(), "truncated") == 1);
  CHECK_THROWS_WITH(ModelScorer(model, tokenizer, {.over_long = "cut"}),
                    Catch::Contains("error or truncate_left"));
}

TEST_CASE("generate: alone, together, shuffled: the same text, greedy and sampled") {
  const auto model = tiny(4);
  NativeTokenModel native(*model);
  std::vector<std::string> pieces;
  for (int i = 0; i < 48; ++i) pieces.emplace_back(1, static_cast<char>('A' + i));
  const FakeTokenizer tokenizer(pieces);
  PythonRandom random(5);
  const auto prompt = [&](int64_t length) {
    std::string text;
    for (int64_t i = 0; i < length; ++i) text += pieces[random.below(48)];
    return text;
  };
  const std::string header = prompt(300);  // more than two blocks that the prompts share
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 30; ++i) {
    requests.push_back({.prompt = (i % 2 ? header : "") + prompt(1 + i * 3),
                        .max_new_tokens = 5 + i,
                        .temperature = i % 3 ? 0.7 : 0.0,
                        .seed = static_cast<uint64_t>(i)});
  }
  ModelScorer scorer(native, tokenizer);
  const auto together = scorer.generate(requests);
  CHECK(scorer.counts().shared == 14 * 256);
  auto backwards = requests;
  std::reverse(backwards.begin(), backwards.end());
  const auto turned = ModelScorer(native, tokenizer).generate(backwards);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CHECK(turned[requests.size() - 1 - i].text == together[i].text);
    CHECK(ModelScorer(native, tokenizer).generate({requests[i]})[0].text == together[i].text);
    CHECK(together[i].tokens <= requests[i].max_new_tokens);
  }
  auto reseeded = requests;
  for (auto& request : reseeded) request.seed += 1000;
  const auto other = ModelScorer(native, tokenizer).generate(reseeded);
  int64_t changed = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) changed += other[i].text != together[i].text;
  CHECK(changed >= 15);  // the sampled ones, near all of them
}

TEST_CASE("prefill_each: a row's logits and state are the same bytes whatever stands beside it") {
  for (const int64_t positions : {kPositions, int64_t{24}}) {  // 24: fillers need two sequences
    const auto model = test::tiny_model({.width = 4, .positions = positions});
    NativeTokenModel native(*model);
    PythonRandom random(3);
    std::vector<TokenModel::Row> rows;
    for (int i = 0; i < 23; ++i) {
      TokenModel::Row row;
      for (int64_t length = 1 + i; length > 0; --length) {
        row.tokens.push_back(static_cast<int64_t>(random.below(50)));
      }
      rows.push_back(row);
    }
    torch::Tensor together;
    auto states = native.prefill_each(rows, together);
    const std::vector<int64_t> next(rows.size(), 7);
    const auto further = native.decode(next, states);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<int64_t>(i);
      torch::Tensor alone;
      auto state = native.prefill_each({rows[i]}, alone);
      CHECK(state[0]->length() == row + 1);
      CHECK(alone[0].equal(together[row]));
      CHECK(native.decode({7}, state)[0].equal(further[row]));
      const auto logits = native.logits(rows[i].tokens, {row});
      CHECK(alone.allclose(logits, 1e-4, 1e-5));
    }
  }
}

TEST_CASE("generate: degenerate text is flagged") {
  const auto tokenizer = letters();
  auto table = at::zeros({32, 32});
  const auto id = [&](const char* piece) { return tokenizer.encode(piece, false)[0]; };
  table[id("x")][id("x")] = 5.0f;
  table[id("y")][id(" ")] = 5.0f;
  table[id(" ")][tokenizer.eos()] = 5.0f;
  auto model = test::table_model(table, 64);
  ModelScorer scorer(model, tokenizer);
  using Flags = std::vector<std::string>;
  CHECK(scorer.generate({{"x", 24}})[0].flags == Flags{"repetition"});
  CHECK(scorer.generate({{"x", 23}})[0].flags.empty());
  CHECK(scorer.generate({{"x", 3, {"q"}}})[0].flags == Flags{"no_stop"});
  CHECK(scorer.generate({{"y", 9}})[0].flags == Flags{"empty"});
  CHECK(scorer.generate({{"y", 9}})[0].finish == "end");
  CHECK(is_blank("  \n\xe3\x80\x80"));
  CHECK_FALSE(is_blank(" \xc3\xa9 "));
  std::vector<int64_t> ids{9, 9};
  for (int i = 0; i < 4; ++i) ids.insert(ids.end(), {1, 2, 3, 4, 5, 6});
  CHECK(ends_in_repetition(ids));
  ids.push_back(7);
  CHECK_FALSE(ends_in_repetition(ids));
}
