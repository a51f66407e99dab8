#include "cupel/eval/scorer.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

#include "cupel/model/generate.h"
#include "cupel/model/model.h"
#include "support/fake_model.h"
#include "support/fake_tokenizer.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::FakeTokenizer;
using cupel::test::letters;

namespace {

torch::Tensor some_table() { return test::seeded_normal({32, 32}, 1) * 2; }

// log p of ids[first ..] under a table of next-token logits.
double slow_log_p(const torch::Tensor& table, const std::vector<int64_t>& ids, int64_t first) {
  double sum = 0;
  for (std::size_t i = first; i < ids.size(); ++i) {
    sum += at::log_softmax(table.to(at::kDouble)[ids[i - 1]], 0)[ids[i]].item<double>();
  }
  return sum;
}

// Logits that always call for the next piece of a cycle of ids.
torch::Tensor chain(const std::vector<int64_t>& cycle, int64_t vocabulary = 32) {
  auto table = at::zeros({vocabulary, vocabulary});
  for (std::size_t i = 0; i + 1 < cycle.size(); ++i) table[cycle[i]][cycle[i + 1]] = 5.0f;
  return table;
}

}  // namespace

TEST_CASE("log_likelihood: is the sum of log-softmax over the continuation") {
  const auto table = some_table();
  auto model = test::table_model(table);
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer);
  const auto got = scorer.log_likelihood({{"dog", "fish"}, {"the", " cat"}, {"the", " "}});
  REQUIRE(got.size() == 3);
  const auto check_one = [&](const LogLikelihood& one, const std::string& text, int64_t first,
                             int64_t tokens) {
    CHECK(one.value == Approx(slow_log_p(table, tokenizer.encode(text), first)).epsilon(1e-5));
    CHECK(one.tokens == tokens);
    CHECK(one.flags.empty());
  };
  check_one(got[0], "dogfish", 4, 4);  // BOS and three letters come first
  check_one(got[1], "the cat", 2, 4);  // "the" is one piece
  check_one(got[2], "the ", 2, 1);
}

TEST_CASE("log_likelihood: is_greedy says that each token was the likeliest") {
  const auto tokenizer = letters();
  const auto ids = tokenizer.encode("xyz");
  auto model = test::table_model(chain(ids));
  ModelScorer scorer(model, tokenizer);
  const auto got = scorer.log_likelihood({{"x", "yz"}, {"x", "yy"}, {"x", "y"}});
  CHECK(got[0].is_greedy);
  CHECK_FALSE(got[1].is_greedy);
  CHECK(got[2].is_greedy);
}

TEST_CASE("log_likelihood: greedy_text is what a greedy generation of one token says") {
  const auto table = some_table();
  auto model = test::table_model(table);
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer);
  const std::vector<std::string> contexts = {"dog", "the", "the cat", "a", "b", "c", "d"};
  std::vector<ScoredPair> pairs;
  std::vector<GenerationRequest> requests;
  for (const auto& context : contexts) {
    pairs.emplace_back(context, "xyz");
    requests.push_back({.prompt = context, .max_new_tokens = 1});
  }
  const auto scores = scorer.log_likelihood(pairs);
  const auto texts = scorer.generate(requests);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    REQUIRE(scores[i].greedy_text.has_value());
    CHECK(*scores[i].greedy_text == texts[i].text);
  }
}

TEST_CASE("generate: ids that the tokenizer lacks are no text, and flagged") {
  const auto tokenizer = letters();
  auto table = chain(tokenizer.encode("xyz"));
  table = torch::constant_pad_nd(table, {0, 2, 0, 2}, -100.0);
  const int64_t extra = table.size(0) - 1, x = tokenizer.encode("x").back();
  table.index_put_({x, extra}, 1000.0);
  table.index_put_({extra, tokenizer.encode("y").back()}, 1000.0);
  auto model = test::table_model(table);
  ModelScorer scorer(model, tokenizer);
  const auto made = scorer.generate({{.prompt = "x", .max_new_tokens = 2}})[0];
  CHECK(made.text == "y");
  CHECK(made.tokens == 2);
  CHECK(made.flags == std::vector<std::string>{"unknown_token"});
  CHECK(scorer.log_likelihood({{"x", "y"}})[0].greedy_text == "");
}

TEST_CASE("measure: counts prompts and finds the longest ends that fit") {
  auto model = test::table_model(some_table());
  const auto tokenizer = letters();
  const std::string text = "the cat sat on the mat and saw the dog";
  TextMeasure kept;
  {
    const ModelScorer scorer(model, tokenizer);
    const TextMeasure measure = scorer.measure();
    kept = measure;
    CHECK(measure.known());
    CHECK(measure.limit == model.info().max_length);
    CHECK(measure.count(text) == static_cast<int64_t>(tokenizer.encode(text).size()));
    for (const int64_t tokens : {1, 2, 5, 9, 20, 1000}) {
      const std::string head = measure.head(text, tokens), tail = measure.tail(text, tokens);
      CHECK(text.rfind(head, 0) == 0);
      CHECK(text.substr(text.size() - tail.size()) == tail);
      CHECK(measure.count(head) <= tokens);
      CHECK(measure.count(tail) <= tokens);
      if (tokens < measure.count(text)) {
        CHECK(measure.count(text.substr(0, head.size() + 1)) > tokens);
      } else {
        CHECK(head == text);
      }
    }
  }
  CHECK_THROWS_WITH(kept.count(text), Catch::Contains("the scorer that counts tokens is gone"));
  CHECK_THROWS_WITH(TextMeasure{}.head(text, 3), Catch::Contains("able to count tokens"));
}

TEST_CASE("log_likelihood: a token that spans the join is flagged") {
  const auto table = some_table();
  auto model = test::table_model(table);
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer);
  const auto got = scorer.log_likelihood({{"ca", "bs"}, {"ca", "rs"}})[0];
  CHECK(got.flags == std::vector<std::string>{"boundary_shift"});
  const auto whole = tokenizer.encode("cabs");  // BOS c ab s: everything after "c" is scored
  REQUIRE(whole.size() == 4);
  CHECK(got.tokens == 2);
  CHECK(got.value == Approx(slow_log_p(table, whole, 2)).epsilon(1e-5));
  CHECK(scorer.log_likelihood({{"ca", "rs"}})[0].flags.empty());
}

TEST_CASE("log_likelihood: an empty context starts from BOS, or from EOS where there is none") {
  const auto table = some_table();
  auto model = test::table_model(table);
  for (const bool add_bos : {true, false}) {
    const auto tokenizer = letters(add_bos);
    ModelScorer scorer(model, tokenizer);
    const auto got = scorer.log_likelihood({{"", "dog"}})[0];
    CHECK(got.tokens == 3);
    CHECK(got.value == Approx(slow_log_p(table, letters(true).encode("dog"), 1)).epsilon(1e-5));
  }
  const auto without = letters(false, false);
  ModelScorer scorer(model, without);
  auto from_eos = without.encode("dog");
  from_eos.insert(from_eos.begin(), without.eos());
  CHECK(scorer.log_likelihood({{"", "dog"}})[0].value ==
        Approx(slow_log_p(table, from_eos, 1)).epsilon(1e-5));
  CHECK(scorer.log_likelihood({{"d", "og"}})[0].tokens == 2);
}

TEST_CASE("log_likelihood: nothing to score and too much are refused, nothing is cut") {
  auto model = test::table_model(some_table(), 8);
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer);
  CHECK_THROWS_WITH(scorer.log_likelihood({{"dog", ""}}),
                    Catch::Contains("there must be a token to score"));
  CHECK(scorer.log_likelihood({{"ccccccc", "d"}})[0].tokens == 1);  // 9 tokens, 8 are run
  CHECK_THROWS_WITH(scorer.log_likelihood({{"cccccccc", "d"}}),
                    Catch::Contains("8 positions. Got 10 tokens for 'd'"));
  auto small = test::uniform_model(31);
  CHECK_THROWS_AS(ModelScorer(small, tokenizer), std::invalid_argument);
}

TEST_CASE("rolling_log_likelihood: every token once, across windows of the model's length") {
  const auto table = some_table();
  const auto tokenizer = letters();
  const std::string text = "cdcdefghijkcdcdcdefgh";  // 21 pieces
  const double want = slow_log_p(table, tokenizer.encode(text), 1);
  for (const int64_t positions : {1, 4, 7, 21, 22, 30}) {
    INFO(positions << " positions");
    auto model = test::table_model(table, positions);
    ModelScorer scorer(model, tokenizer);
    const auto got = scorer.rolling_log_likelihood({text})[0];
    CHECK(got.tokens == 21);
    CHECK(got.value == Approx(want).epsilon(1e-5));  // a table looks back one token only
  }
  auto model = test::table_model(table);
  const auto bare = letters(false);
  CHECK(ModelScorer(model, bare).rolling_log_likelihood({text})[0].tokens == 21);
  ModelScorer scorer(model, tokenizer);
  CHECK_THROWS_WITH(scorer.rolling_log_likelihood({""}), Catch::Contains("a token to score"));
}

TEST_CASE("generate: greedy text, the end of a sequence, and the length") {
  const auto tokenizer = letters();
  auto ids = tokenizer.encode("xyz");
  ids.push_back(tokenizer.eos());
  auto model = test::table_model(chain(ids));
  ModelScorer scorer(model, tokenizer);
  const auto got = scorer.generate({{"x", 10}, {"x", 1}, {"x", 0}});
  CHECK(got[0].text == "yz");
  CHECK(got[0].finish == "end");
  CHECK(got[0].tokens == 2);
  CHECK(got[1].text == "y");
  CHECK(got[1].finish == "length");
  CHECK(got[2].text.empty());
  CHECK_THROWS_WITH(scorer.generate({{"x", 15}}), Catch::Contains("16 positions. Got 2 + 15"));
  CHECK_THROWS_AS(scorer.generate({{"x", -1}}), std::invalid_argument);
}

TEST_CASE("generate: text ends before the first of the stop strings") {
  const auto tokenizer = letters();
  const auto table = chain(tokenizer.encode("uvwxyz"));
  auto model = test::table_model(table);
  ModelScorer scorer(model, tokenizer);
  const auto run = [&](std::vector<std::string> stop) {
    return scorer.generate({{"u", 5, std::move(stop)}})[0];
  };
  CHECK(run({}).text == "vwxyz");
  CHECK(run({"x"}).text == "vw");
  CHECK(run({"x"}).finish == "stop");
  CHECK(run({"wx"}).text == "v");  // spans two tokens
  CHECK(run({"y", "w"}).text == "v");
  CHECK(run({"", "q"}).text == "vwxyz");
  CHECK(run({"", "q"}).finish == "length");
}

TEST_CASE("generate: with states or without, the text is the same") {
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  CallableTokenModel stateless([&](const torch::Tensor& t) { return model->logits(t); },
                               {.vocabulary = 50, .max_length = 64});
  std::vector<std::string> pieces;
  for (int i = 0; i < 48; ++i) pieces.emplace_back(1, static_cast<char>('A' + i));
  const FakeTokenizer tokenizer(pieces);
  const std::vector<GenerationRequest> requests{{"ABC", 12}, {"XYZZY", 20}};
  const auto a = ModelScorer(native, tokenizer).generate(requests);
  const auto b = ModelScorer(stateless, tokenizer).generate(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CHECK(a[i].text == b[i].text);
    CHECK(a[i].finish == b[i].finish);
    const auto ids = generate(*model, tokenizer.encode(requests[i].prompt),
                              {.max_new_tokens = requests[i].max_new_tokens, .stop = {1}});
    CHECK(a[i].text == tokenizer.decode(ids));
  }
}

TEST_CASE("ModelScorer: progress can cancel each kind of work") {
  auto model = test::uniform_model(32);
  const auto tokenizer = letters();
  ModelScorer scorer(model, tokenizer, {.progress = [](const Progress&) { return false; }});
  CHECK_THROWS_AS(scorer.log_likelihood({{"x", "y"}}), Cancelled);
  CHECK_THROWS_AS(scorer.rolling_log_likelihood({"xy"}), Cancelled);
  CHECK_THROWS_AS(scorer.generate({{"x", 2}}), Cancelled);
}
