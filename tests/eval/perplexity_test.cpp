#include "cupel/eval/perplexity.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/eval/statistics.h"
#include "cupel/model/model.h"
#include "eval/perplexity_plan.h"
#include "eval/token_scores.h"
#include "eval/wikitext.h"
#include "support/fake_model.h"
#include "support/fake_tokenizer.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::letters;
using cupel::test::TemporaryFolder;

namespace {

// Mean nats of the scored tokens by the definition, window by window.
std::vector<double> slow_losses(const torch::Tensor& table, const std::vector<int64_t>& ids,
                                int64_t length) {
  std::vector<double> losses;
  const auto wide = table.to(at::kDouble);
  for (std::size_t begin = 0; begin + length <= ids.size(); begin += length) {
    double sum = 0;
    for (int64_t i = 1; i < length; ++i) {
      const auto row = at::log_softmax(wide[ids[begin + i - 1]], 0);
      sum -= row[ids[begin + i]].item<double>();
    }
    losses.push_back(sum / static_cast<double>(length - 1));
  }
  return losses;
}

}  // namespace

TEST_CASE("perplexity: equal logits give the vocabulary") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "the quick brown fox jumps over a lazy dog");
  for (const int64_t vocabulary : {32, 50, 1000}) {
    auto model = test::uniform_model(vocabulary);
    const Perplexity got = perplexity(model, letters(), file, {.length = 5});
    CHECK(got.value == Approx(static_cast<double>(vocabulary)).epsilon(1e-6));
    CHECK(got.loss == Approx(std::log(static_cast<double>(vocabulary))).epsilon(1e-6));
  }
}

TEST_CASE("perplexity: windows, tokens and the dropped tail are counted") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "ccccccccccc");  // 11 letters and BOS
  auto model = test::uniform_model(32);
  const Perplexity got = perplexity(model, letters(), file, {.length = 5});
  CHECK(got.tokens == 12);
  CHECK(got.windows == 2);
  CHECK(got.dropped == 2);
  CHECK(got.scored == 8);
  CHECK(got.length == 5);
  CHECK(got.window_losses.size() == 2);
  CHECK(got.protocol == "gptq");
  CHECK(got.file == "text.txt");
  CHECK(got.file_sha256 == sha256("ccccccccccc"));
  CHECK(got.tokenizer == letters().fingerprint());
  CHECK(got.model.fingerprint == "table");
}

TEST_CASE("perplexity: is exp of the mean loss of the scored tokens") {
  const TemporaryFolder folder;
  const std::string text = "a tale of the cab that ran about the bay and back at dawn";
  const std::string file = folder.write("text.txt", text);
  const auto table = test::seeded_normal({32, 32}, 1) * 3;
  auto model = test::table_model(table);
  for (const int64_t length : {2, 7, 16}) {
    const auto want = slow_losses(table, letters().encode(text), length);
    const Perplexity got = perplexity(model, letters(), file, {.length = length});
    REQUIRE(got.window_losses.size() == want.size());
    double mean = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      CHECK(got.window_losses[i] == Approx(want[i]).epsilon(1e-6));
      mean += want[i] / static_cast<double>(want.size());
    }
    CHECK(got.value == Approx(std::exp(mean)).epsilon(1e-6));
  }
}

TEST_CASE("perplexity: of a native model equals that of its logits") {
  const TemporaryFolder folder;
  const std::string text = "the cat sat on the mat and the dog ate the bat";
  const std::string file = folder.write("text.txt", text);
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  const Perplexity got = perplexity(native, letters(), file, {.length = 8});
  const auto ids = letters().encode(text);
  double sum = 0;
  for (int64_t window = 0; window < got.windows; ++window) {
    const std::vector<int64_t> part(ids.begin() + 8 * window, ids.begin() + 8 * window + 8);
    const auto row = at::tensor(at::ArrayRef<int64_t>(part));
    const auto logs = at::log_softmax(model->logits(row.unsqueeze(0))[0].to(at::kDouble), -1);
    for (int64_t i = 1; i < 8; ++i) sum -= logs[i - 1][part[i]].item<double>();
  }
  CHECK(got.loss == Approx(sum / static_cast<double>(got.scored)).epsilon(1e-6));
  CHECK(got.model.fingerprint == model->fingerprint());
}

TEST_CASE("perplexity: the default length is what the model has, at most 2048") {
  const TemporaryFolder folder;
  auto model = test::uniform_model(32, 16), longer = test::uniform_model(32, 4096);
  const std::string file = folder.write("text.txt", std::string(5000, 'c'));
  CHECK(perplexity(model, letters(), file).length == 16);
  CHECK(perplexity(longer, letters(), file).length == 2048);
}

TEST_CASE("perplexity: too short a text and too long a window are refused") {
  const TemporaryFolder folder;
  auto model = test::uniform_model(32);
  const std::string file = folder.write("text.txt", "ccc");
  const auto refused = [&](const PerplexityOptions& options, const char* rule) {
    CHECK_THROWS_AS(perplexity(model, letters(), file, options), std::invalid_argument);
    CHECK_THROWS_WITH(perplexity(model, letters(), file, options), Catch::Contains(rule));
  };
  refused({.length = 5}, "must fill one window of 5 tokens. Got 4 tokens");
  refused({.length = 17}, "length lies in [2, 16]");
  refused({.length = 1}, "length lies in [2, 16]");
  refused({.length = -3}, "length lies in [2, 16]");
  refused({.length = 4, .stride = 2}, "a stride belongs to the protocol strided. Got 2 with gptq");
  refused({.length = 4, .bos = "maybe"}, "bos is auto, always or never. Got 'maybe'");
  refused({.length = 4, .protocol = "strided", .stride = 4}, "lies in [1, length - 1]. Got 4");
  refused({.length = 2, .protocol = "llamacpp"}, "length lies in [3, 16]");
  refused({.length = 3, .protocol = "llamacpp"}, "two windows of 3 tokens. Got 4 tokens");
  refused({.length = 4, .protocol = "wiki"},
          "protocols are gptq, harness, llamacpp and strided. Got 'wiki'");
  CHECK(perplexity(model, letters(), file, {.length = 4}).windows == 1);
  CHECK_THROWS_AS(perplexity(model, letters(), folder.file("none.txt")), FormatError);
  CHECK_THROWS_AS(perplexity(model, letters(), folder.write("empty.txt", "")), FormatError);
  auto small = test::uniform_model(31);
  CHECK_THROWS_WITH(perplexity(small, letters(), file, {.length = 4}),
                    Catch::Contains("32 ids for a vocabulary of 31"));
}

TEST_CASE("perplexity: a log-likelihood that is no number is named by its window") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "cccccccczcccc");
  for (const float bad :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    auto table = at::zeros({32, 32});
    const int64_t z = letters().encode("z", false)[0];
    const int64_t c = letters().encode("c", false)[0];
    table[c][z] = bad;  // never asked for before the second window
    if (bad == -std::numeric_limits<float>::infinity()) {
      auto model = test::table_model(table);
      const auto run = [&] { perplexity(model, letters(), file, {.length = 4}); };
      CHECK_THROWS_AS(run(), NumericalError);
      CHECK_THROWS_WITH(run(), Catch::Contains("in window 2 of text.txt"));
    } else {
      auto model = test::table_model(table);
      CHECK_THROWS_WITH(perplexity(model, letters(), file, {.length = 4}),
                        Catch::Contains("in window 0 of text.txt"));
    }
  }
}

TEST_CASE("perplexity: logits of 10,000 stay finite and exact") {
  const TemporaryFolder folder;
  const std::string text(9, 'c');
  const std::string file = folder.write("text.txt", text);
  auto table = at::full({32, 32}, -1e4f);
  table.select(1, letters().encode("c", false)[0]).fill_(1e4f);
  auto model = test::table_model(table);
  CHECK(perplexity(model, letters(), file, {.length = 5}).value == 1.0);
}

TEST_CASE("perplexity: progress is told each batch of windows and can cancel") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", std::string(6 * 1024 - 1, 'c'));
  auto model = test::uniform_model(32, 2048);
  std::vector<int64_t> done;
  PerplexityOptions options{.length = 1024};
  options.progress = [&](const Progress& progress) {
    if (done.empty() || progress.done != done.back()) done.push_back(progress.done);
    CHECK(progress.total == 6);
    return progress.done < 4;
  };
  CHECK_THROWS_AS(perplexity(model, letters(), file, options), Cancelled);
  CHECK(done == std::vector<int64_t>{0, 2, 4});  // 2048 tokens at once
}

namespace {

// (context, scored tokens) of each window, from the plan.
using Pair = std::pair<std::vector<int64_t>, std::vector<int64_t>>;

std::vector<Pair> pairs_of(const PerplexityPlan& plan) {
  std::vector<Pair> pairs;
  for (const auto& window : plan.windows) {
    const auto begin = plan.sequences[window.sequence].begin() + window.begin;
    pairs.push_back({{begin, begin + window.first}, {begin + window.first, begin + window.tokens}});
  }
  return pairs;
}

}  // namespace

TEST_CASE("perplexity: the harness's rolling windows") {
  const TemporaryFolder folder;
  const auto tokenizer = letters(false);
  const std::string file = folder.write("text.jsonl", R"({"text": "bcdefghijk"})");
  auto model = test::uniform_model(32);
  // b is 4, the prefix 0. The first two tokens of the last window fill it up to its length.
  const std::vector<Pair> wanted{
      {{0}, {4, 5, 6, 7}}, {{7}, {8, 9, 10, 11}}, {{9, 10, 11}, {12, 13}}};
  const auto plan =
      plan_perplexity(model.info(), tokenizer, file, {.length = 4, .protocol = "harness"});
  CHECK(pairs_of(plan) == wanted);
  CHECK(plan.blocks == std::vector<int64_t>{0});
  const Perplexity got = perplexity(model, tokenizer, file, {.length = 4, .protocol = "harness"});
  CHECK(got.window_tokens == std::vector<int64_t>{10});
  CHECK(got.word_perplexity == Approx(std::pow(32, 10)));
  CHECK(got.byte_perplexity == Approx(32));
  CHECK(got.bits_per_byte == Approx(5));
}

TEST_CASE("perplexity: windows of llamacpp and strided") {
  const TemporaryFolder folder;
  auto model = test::uniform_model(32);
  const std::string file = folder.write("text.txt", "bcdefghijklm");  // BOS, 4 .. 15
  const auto halves =
      plan_perplexity(model.info(), letters(), file, {.length = 5, .protocol = "llamacpp"});
  CHECK(pairs_of(halves) == std::vector<Pair>{{{0, 4, 5}, {6, 7}}, {{0, 9, 10}, {11, 12}}});
  CHECK(halves.result.notes == std::vector<std::string>{"1 tokens gave way to BOS."});
  CHECK(halves.result.dropped == 3);
  const auto kept = plan_perplexity(model.info(), letters(), file,
                                    {.length = 5, .protocol = "llamacpp", .bos = "never"});
  CHECK(pairs_of(kept)[1] == Pair{{9, 10, 11}, {12, 13}});
  CHECK(kept.result.notes.empty());
  const auto strided = plan_perplexity(model.info(), letters(), file,
                                       {.length = 6, .protocol = "strided", .stride = 4});
  CHECK(pairs_of(strided) == std::vector<Pair>{{{0}, {4, 5, 6, 7, 8}},
                                               {{7, 8}, {9, 10, 11, 12}},
                                               {{11, 12}, {13, 14, 15}}});
}

TEST_CASE("perplexity: batches cover the windows and add up in any order") {
  const TemporaryFolder folder;
  const std::string text(9000, 'c');
  const std::string file = folder.write("text.txt", text);
  auto model = test::table_model(test::seeded_normal({32, 32}, 2), 2048);
  for (const char* protocol : {"gptq", "harness", "llamacpp", "strided"}) {
    const PerplexityOptions options{.length = 700, .protocol = protocol};
    const auto plan = plan_perplexity(model.info(), letters(), file, options);
    std::vector<BlockSum> sums;
    int64_t next = 0;
    for (const auto& batch : plan.batches) {
      CHECK(batch.begin == next);
      int64_t tokens = 0;
      for (int64_t i = batch.begin; i < batch.end; ++i) tokens += plan.windows[i].tokens - 1;
      CHECK(tokens <= 2048);
      next = batch.end;
      const auto some = score_batch(model, plan, batch);
      sums.insert(sums.begin(), some.begin(), some.end());
    }
    CHECK(next == plan.result.windows);
    const Perplexity whole = perplexity(model, letters(), file, options);
    CHECK(summarise(plan, sums).loss == whole.loss);
    CHECK(summarise(plan, sums).window_losses == whole.window_losses);
    auto twice = sums, fewer = sums;
    twice.push_back(sums.front());
    fewer.pop_back();
    CHECK_THROWS_WITH(summarise(plan, twice), Catch::Contains("Got another for window"));
    CHECK_THROWS_WITH(summarise(plan, fewer), Catch::Contains("each window has one sum"));
    fewer.push_back(sums.back());
    fewer.back().tokens += 1;
    CHECK_THROWS_WITH(summarise(plan, fewer), Catch::Contains("Got a sum of"));
  }
}

TEST_CASE("perplexity: the standard error is that of its blocks") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "a tale of the cab that ran about the bay");
  auto model = test::table_model(test::seeded_normal({32, 32}, 1) * 3);
  const Perplexity got = perplexity(model, letters(), file, {.length = 8});
  std::vector<double> sums;
  for (const double mean : got.window_losses) sums.push_back(7 * mean);
  REQUIRE(sums.size() >= 3);
  CHECK(got.standard_error == Approx(block_standard_error(sums, got.window_tokens)));
  CHECK(std::isnan(perplexity(model, letters(), file, {.length = 16}).standard_error) ==
        (got.tokens / 16 < 2));
}

TEST_CASE("perplexity: N26, log-sum-exp of logits of 10,000 equals float64") {
  const auto table = (test::seeded_normal({32, 32}, 4) * 4e3).clamp(-1e4, 1e4);
  table[3][5] = 1e4f;
  table[3][6] = -1e4f;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    auto model = test::table_model(table.to(dtype));
    const auto wide = at::log_softmax(table.to(dtype).to(at::kDouble), 1);
    for (int64_t token = 0; token < 32; ++token) {
      const auto got = score_tokens(model, {{3, token}, {token, 7}}, 1);
      CHECK(got.log_probability[0] == Approx(wide[3][token].item<double>()).epsilon(1e-5));
      CHECK(got.log_probability[1] == Approx(wide[token][7].item<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("perplexity: N25, documents without a token to score are counted") {
  const TemporaryFolder folder;
  const std::string lines = R"({"text": "b"}
{"text": ""}
{"text": "bcd"}
)";
  auto model = test::uniform_model(32);
  const PerplexityOptions options{.protocol = "harness"};
  const std::string file = folder.write("text.jsonl", lines);
  const Perplexity got = perplexity(model, letters(false), file, options);
  CHECK(got.documents == 3);
  CHECK(got.skipped == 1);  // the empty one
  CHECK(got.window_tokens == std::vector<int64_t>{1, 3});
  CHECK(got.words == 3);  // as lm-eval counts: the empty document is one
  CHECK(got.bytes == 4);
  const std::string empty = folder.write("empty.jsonl", "{\"text\": \"\"}\n");
  CHECK_THROWS_WITH(perplexity(model, letters(false), empty, options),
                    Catch::Contains("must be a token to score. Got 1 documents and 0 tokens"));
  CHECK_THROWS_WITH(perplexity(model, letters(), file, {}),
                    Catch::Contains(".jsonl are for harness"));
}

TEST_CASE("perplexity: words are counted at Python's white space") {
  CHECK(count_words("") == 1);
  CHECK(count_words("a") == 1);
  CHECK(count_words(" a  b\n") == 4);
  CHECK(count_words("a\u00a0b\u2003\u3000c\u0085d\x1c"
                    "e\u2028f") == 6);
  CHECK(count_words("a\u200bb\u00e9\ufeff") == 1);  // no white space
}

TEST_CASE("perplexity: WikiText's spaced-out tokens are put together") {
  CHECK(detokenise_wikitext("the cats ' hats , 1 @,@ 000 @-@ odd .") ==
        "the cats' hats, 1,000-odd .");
  CHECK(detokenise_wikitext("a ( b ) [ c ] { d } \" e \" ' f '") == "a (b) [c] {d} \"e\" 'f'");
  CHECK(detokenise_wikitext("left ( open \" ") == "left ( open \" ");
  CHECK(detokenise_wikitext("/' 5/' 6/") == "/'[0-9]/' 6/");
  CHECK(detokenise_wikitext(" = = A = = \n 20 \u00b0 C") == " == A ==\n20\u00b0C");
  // Matches do not overlap: the second mark keeps its space.
  CHECK(detokenise_wikitext("a . . b") == "a. . b");
}
