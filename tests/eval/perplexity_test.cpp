#include "cupel/eval/perplexity.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/model/model.h"
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
  refused({.length = 4, .protocol = "wiki"}, "the protocol is gptq. Got 'wiki'");
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
  const std::string file = folder.write("text.txt", std::string(6 * 2048 - 1, 'c'));
  auto model = test::uniform_model(32, 2048);
  int64_t calls = 0;
  PerplexityOptions options{.length = 2048};
  options.progress = [&](const Progress& progress) {
    CHECK(progress.done == 2 * calls++);  // 4096 tokens at once
    CHECK(progress.total == 6);
    return calls < 2;
  };
  CHECK_THROWS_AS(perplexity(model, letters(), file, options), Cancelled);
  CHECK(calls == 2);
}
