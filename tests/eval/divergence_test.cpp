#include "cupel/eval/divergence.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <algorithm>
#include <cmath>
#include <limits>

#include "cupel/core/error.h"
#include "cupel/eval/perplexity.h"
#include "cupel/model/model.h"
#include "support/fake_model.h"
#include "support/fake_tokenizer.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::letters;
using cupel::test::TemporaryFolder;

namespace {

const std::string kText = "a tale of the cab that ran about the bay and back at dawn";

// Each token's divergence and change of the true token's probability by the definition, float64.
struct Slow {
  std::vector<double> kl, delta;
  double agree = 0;
};

Slow by_definition(const torch::Tensor& dense, const torch::Tensor& compressed, int64_t length) {
  Slow slow;
  const std::vector<int64_t> ids = letters().encode(kText);
  const int64_t vocabulary = dense.size(0);
  const auto probability = [&](const torch::Tensor& table, int64_t row, int64_t token) {
    double sum = 0;
    for (int64_t i = 0; i < vocabulary; ++i) sum += std::exp(table[row][i].item<double>());
    return std::exp(table[row][token].item<double>()) / sum;
  };
  for (std::size_t begin = 0; begin + length <= ids.size(); begin += length) {
    for (std::size_t i = begin; i + 1 < begin + length; ++i) {
      double kl = 0;
      int64_t best_p = 0, best_q = 0;
      for (int64_t token = 0; token < vocabulary; ++token) {
        const double p = probability(dense, ids[i], token);
        const double q = probability(compressed, ids[i], token);
        kl += p * std::log(p / q);
        if (p > probability(dense, ids[i], best_p)) best_p = token;
        if (q > probability(compressed, ids[i], best_q)) best_q = token;
      }
      slow.kl.push_back(kl);
      slow.delta.push_back(probability(compressed, ids[i], ids[i + 1]) -
                           probability(dense, ids[i], ids[i + 1]));
      slow.agree += best_p == best_q;
    }
  }
  return slow;
}

}  // namespace

TEST_CASE("divergence: is what its definition says") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const auto p = test::seeded_normal({32, 32}, 1) * 2, q = p + test::seeded_normal({32, 32}, 2);
  auto dense = test::table_model(p), compressed = test::table_model(q);
  for (const int64_t length : {3, 8, 16}) {
    Slow slow = by_definition(p, q, length);
    const Divergence got = divergence(dense, compressed, letters(), file, {.length = length});
    REQUIRE(got.scored == static_cast<int64_t>(slow.kl.size()));
    const auto count = static_cast<double>(slow.kl.size());
    double kl = 0, delta = 0, squares = 0;
    for (const double x : slow.kl) kl += x / count;
    for (const double x : slow.delta) {
      delta += x / count;
      squares += x * x / count;
    }
    CHECK(got.mean_kl == Approx(kl).epsilon(1e-9));
    CHECK(got.delta_p_mean == Approx(delta).epsilon(1e-9));
    CHECK(got.delta_p_rms == Approx(std::sqrt(squares)).epsilon(1e-9));
    CHECK(got.top1_agreement == slow.agree / count);
    CHECK(got.top1_agreement < 1);
    std::sort(slow.kl.begin(), slow.kl.end());
    CHECK(got.max_kl == Approx(slow.kl.back()).epsilon(1e-9));
    const std::size_t middle = slow.kl.size() / 2;
    const double median =
        slow.kl.size() % 2 == 1 ? slow.kl[middle] : (slow.kl[middle - 1] + slow.kl[middle]) / 2;
    CHECK(got.median_kl == Approx(median).epsilon(1e-9));
    const Perplexity first = perplexity(dense, letters(), file, {.length = length});
    const Perplexity second = perplexity(compressed, letters(), file, {.length = length});
    CHECK(got.dense_loss == Approx(first.loss).epsilon(1e-6));
    CHECK(got.log_ratio == Approx(second.loss - first.loss).epsilon(1e-5));
    CHECK(got.dropped == first.dropped);
    CHECK(got.windows == first.windows);
    CHECK(got.window_log_ratios.size() == first.window_losses.size());
  }
}

// 300,000 ids: a window's logits exceed what is held at once, so it is walked in parts.
TEST_CASE("divergence: a window in parts equals one in a single run") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", std::string(79, 'c'));
  const int64_t vocabulary = 300'000, length = 40;
  int64_t longest = 0;
  const auto model = [&](double shift) {
    // Logits depend on where the token stands, so that a lost beginning would show.
    return CallableTokenModel(
        [=, &longest](const torch::Tensor& tokens) {
          longest = std::max(longest, tokens.size(1));
          auto logits = at::zeros({1, tokens.size(1), vocabulary});
          for (int64_t i = 0; i < tokens.size(1); ++i) {
            logits[0][i][5] = 12.0 + shift * static_cast<double>(i);
          }
          return logits;
        },
        {.vocabulary = vocabulary, .max_length = 64});
  };
  auto dense = model(0), compressed = model(0.01);
  const Divergence got = divergence(dense, compressed, letters(), file, {.length = length});
  CHECK(longest == length - 1);
  double kl = 0;
  const auto rest = static_cast<double>(vocabulary - 1);
  for (int64_t i = 0; i < length - 1; ++i) {
    const double x = static_cast<float>(12), y = static_cast<float>(12 + 0.01 * i);
    const double a = std::log(std::exp(x) + rest), b = std::log(std::exp(y) + rest);
    kl += std::exp(x - a) * (x - a - y + b) + rest * std::exp(-a) * (b - a);
  }
  CHECK(got.mean_kl == Approx(kl / static_cast<double>(length - 1)).epsilon(1e-9));
  CHECK(got.windows == 2);
  CHECK(got.window_kl[0] == got.window_kl[1]);
}

TEST_CASE("divergence: of native models, the same and another") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const auto model = test::tiny_model();
  NativeTokenModel dense(*model);
  const Divergence same = divergence(dense, dense, letters(), file, {.length = 8});
  CHECK(same.mean_kl == 0);
  CHECK(same.max_kl == 0);
  CHECK(same.log_ratio == 0);
  CHECK(same.top1_agreement == 1);
  CHECK(same.dense.fingerprint == model->fingerprint());
  auto other = test::uniform_model(50);
  const Divergence got = divergence(dense, other, letters(), file, {.length = 8});
  CHECK(got.compressed_loss == Approx(std::log(50.0)));
  CHECK(got.mean_kl > 0);
}

TEST_CASE("divergence: both sides excluding a token is no divergence") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", "cccccccc");
  auto p = at::zeros({32, 32}), q = at::zeros({32, 32});
  p.select(1, 9).fill_(-std::numeric_limits<float>::infinity());
  q.select(1, 9).fill_(-std::numeric_limits<float>::infinity());
  auto dense = test::table_model(p), compressed = test::table_model(q);
  CHECK(divergence(dense, compressed, letters(), file, {.length = 4}).mean_kl == 0);
  // Only the compressed model excludes it: no finite number says how far off that is.
  auto full = test::uniform_model(32);
  CHECK_THROWS_AS(divergence(full, compressed, letters(), file, {.length = 4}), NumericalError);
  CHECK_THROWS_WITH(divergence(full, compressed, letters(), file, {.length = 4}),
                    Catch::Contains("a divergence of inf nats in window 0 of text.txt"));
  CHECK(divergence(dense, full, letters(), file, {.length = 4}).mean_kl ==
        Approx(std::log(32.0 / 31)));
}

TEST_CASE("divergence: what does not compare is refused") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  auto small = test::uniform_model(32, 16), large = test::uniform_model(33, 16),
       shorter = test::uniform_model(32, 8);
  const auto refused = [&](TokenModel& a, TokenModel& b, int64_t length, const char* rule) {
    CHECK_THROWS_AS(divergence(a, b, letters(), file, {.length = length}), std::invalid_argument);
    CHECK_THROWS_WITH(divergence(a, b, letters(), file, {.length = length}), Catch::Contains(rule));
  };
  refused(small, large, 8, "need the same vocabulary. Got 32 and 33 ids");
  refused(small, shorter, 9, "length lies in [2, 8]");
  CHECK(divergence(small, shorter, letters(), file).length == 8);
  DivergenceOptions options{.length = 8};
  options.progress = [](const Progress& progress) { return progress.done < 2; };
  CHECK_THROWS_AS(divergence(small, shorter, letters(), file, options), Cancelled);
}
