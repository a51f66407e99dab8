#include "cupel/model/generate.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;

namespace {

const std::vector<int64_t> kPrompt{3, 14, 15, 9};

// Every step from scratch, without a cache.
std::vector<int64_t> slow_greedy(const Model& model, std::vector<int64_t> ids, int64_t count) {
  std::vector<int64_t> made;
  while (static_cast<int64_t>(made.size()) < count) {
    const auto row = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).unsqueeze(0);
    made.push_back(model.logits(row)[0][-1].argmax().item<int64_t>());
    ids.push_back(made.back());
  }
  return made;
}

}  // namespace

TEST_CASE("generate: cached steps equal recomputation from scratch") {
  for (const uint64_t seed : {0, 1, 2}) {
    const auto model = test::tiny_model({.bias = seed == 1, .seed = seed});
    CHECK(generate(*model, kPrompt, {.max_new_tokens = 20}) == slow_greedy(*model, kPrompt, 20));
  }
}

TEST_CASE("generate: a cache extended by several tokens gives the logits of one pass") {
  const auto model = test::tiny_model();
  const auto tokens = test::tiny_tokens(11, 4).unsqueeze(0);
  const auto whole = model->hidden(tokens);
  std::vector<KeyValues> cache;
  std::vector<torch::Tensor> parts;
  for (const auto& [begin, end] : {std::pair(0, 4), {4, 5}, {5, 9}, {9, 11}}) {
    parts.push_back(model->hidden(tokens.slice(1, begin, end), &cache));
  }
  // Other shapes choose other kernels: float32 rounding through two blocks.
  testing::require_close(at::cat(parts, 1), whole, 1e-5);
}

TEST_CASE("generate: greedy takes the likeliest and stops at stop ids") {
  const auto model = test::tiny_model();
  const auto made = generate(*model, kPrompt, {.max_new_tokens = 10});
  REQUIRE(made.size() == 10);
  const int64_t stop = made[4];
  const auto first = std::find(made.begin(), made.end(), stop) - made.begin();
  const auto cut = generate(*model, kPrompt, {.max_new_tokens = 10, .stop = {stop}});
  CHECK(cut == std::vector<int64_t>(made.begin(), made.begin() + first));
  CHECK(generate(*model, kPrompt, {.max_new_tokens = 0}).empty());
}

TEST_CASE("generate: sampling depends on its own seed alone") {
  const auto model = test::tiny_model();
  const GenerateOptions options{.max_new_tokens = 20, .temperature = 1.5, .seed = 5};
  at::manual_seed(1);
  const auto first = generate(*model, kPrompt, options);
  const auto global = at::rand({4});
  at::manual_seed(1);
  const auto untouched = at::rand({4});
  CHECK(at::equal(global, untouched));  // the global generator was not used
  CHECK(generate(*model, kPrompt, options) == first);
  GenerateOptions other = options;
  other.seed = 6;
  CHECK(generate(*model, kPrompt, other) != first);
}

TEST_CASE("generate: top_k 1 and a tiny top_p are greedy") {
  const auto model = test::tiny_model();
  const auto greedy = generate(*model, kPrompt, {.max_new_tokens = 12});
  CHECK(generate(*model, kPrompt,
                 {.max_new_tokens = 12, .temperature = 2.0, .top_k = 1, .seed = 9}) == greedy);
  CHECK(generate(*model, kPrompt,
                 {.max_new_tokens = 12, .temperature = 2.0, .top_p = 1e-9, .seed = 9}) == greedy);
}

TEST_CASE("generate: samples follow the softmax") {
  const auto model = test::tiny_model();
  const auto row = at::tensor(at::ArrayRef<int64_t>(kPrompt), at::kLong).unsqueeze(0);
  const auto p = at::softmax(model->logits(row)[0][-1].to(at::kDouble) / 2.0, -1);
  auto counts = at::zeros({50}, at::kDouble);
  constexpr int kDraws = 400;
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const auto made =
        generate(*model, kPrompt, {.max_new_tokens = 1, .temperature = 2.0, .seed = seed});
    counts[made[0]] += 1;
  }
  // Five standard deviations of a binomial share, and one draw for the rarest tokens.
  const auto bound = at::sqrt(p * (1 - p) / kDraws) * 5 + 1.0 / kDraws;
  CHECK(((counts / kDraws - p).abs() <= bound).all().item<bool>());
}

TEST_CASE("generate: options out of range are refused") {
  const auto model = test::tiny_model();
  const auto refused = [&](const std::vector<int64_t>& prompt, const GenerateOptions& options,
                           const char* rule) {
    CHECK_THROWS_AS(generate(*model, prompt, options), std::invalid_argument);
    CHECK_THROWS_WITH(generate(*model, prompt, options), Catch::Contains(rule));
  };
  refused({}, {}, "at least one token");
  refused(kPrompt, {.max_new_tokens = -1}, "max_new_tokens is at least 0. Got -1");
  refused(kPrompt, {.max_new_tokens = 61}, "the model's 64 positions. Got 4 + 61");
  refused(kPrompt, {.temperature = -1}, "temperature");
  refused(kPrompt, {.top_k = -1}, "top_k");
  refused(kPrompt, {.top_p = 0}, "top_p lies in (0, 1]");
  refused(kPrompt, {.top_p = 1.5}, "top_p lies in (0, 1]");
  refused({50}, {.max_new_tokens = 4}, "token ids lie in [0, 50). Got 50");
  CHECK(generate(*model, kPrompt, {.max_new_tokens = 60}).size() == 60);
}

TEST_CASE("generate: progress is told each token and can cancel") {
  const auto model = test::tiny_model();
  int64_t calls = 0;
  GenerateOptions options{.max_new_tokens = 10};
  options.progress = [&](const Progress& progress) {
    CHECK(progress.done == ++calls);
    CHECK(progress.total == 10);
    return calls < 3;
  };
  CHECK_THROWS_AS(generate(*model, kPrompt, options), Cancelled);
  CHECK(calls == 3);
}
