#include "cupel/model/packed.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include "support/catch.h"
#include <algorithm>
#include <memory>
#include <numeric>

#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::testing::require_close;

namespace {

// Seeded ids below the tiny model's vocabulary.
std::vector<int64_t> ids(int64_t count, uint64_t seed) {
  const auto x = (test::seeded_normal({count}, seed) * 1000).abs().to(at::kLong).remainder(50);
  return {x.const_data_ptr<int64_t>(), x.const_data_ptr<int64_t>() + count};
}

std::vector<int64_t> joined(std::vector<int64_t> a, const std::vector<int64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Hidden rows at `wanted` positions of a sequence that runs by itself, unpacked.
torch::Tensor apart(const Model& model, const std::vector<int64_t>& tokens,
                    const std::vector<int64_t>& wanted) {
  const auto hidden = model.hidden(at::tensor(at::ArrayRef<int64_t>(tokens)).unsqueeze(0))[0];
  return hidden.index_select(0, at::tensor(at::ArrayRef<int64_t>(wanted)));
}

std::vector<int64_t> all_of(const std::vector<int64_t>& tokens) {
  std::vector<int64_t> all(tokens.size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

TEST_CASE("run_packed: each sequence is as if it ran alone") {
  const auto model = test::tiny_model({.width = 2});
  const auto a = ids(7, 1), b = ids(1, 2), c = ids(20, 3);
  const auto got = run_packed(*model, {{a, all_of(a)}, {b, {0}}, {c, {3, 19}}});
  const auto want =
      at::cat({apart(*model, a, all_of(a)), apart(*model, b, {0}), apart(*model, c, {3, 19})});
  require_close(got.hidden, want, 1e-5);  // float32 by other kernels
  CHECK(got.cached == std::vector<std::shared_ptr<const CachedTokens>>(3));
}

TEST_CASE("run_packed: cached tokens are continued, in chains and by several sequences at once") {
  const auto model = test::tiny_model({.width = 2});
  const auto head = ids(9, 1), question = ids(5, 2), other = ids(3, 3);
  const auto first = run_packed(*model, {{head, {}, nullptr, true}});
  CHECK(first.hidden.size(0) == 0);
  const auto& cached = first.cached[0];
  CHECK(cached->length == 9);
  const auto second = run_packed(*model, {{question, {4}, cached, true}, {other, {0, 2}, cached}});
  require_close(second.hidden,
                at::cat({apart(*model, joined(head, question), {13}),
                         apart(*model, joined(head, other), {9, 11})}),
                1e-5);
  const auto& deeper = second.cached[0];
  CHECK(deeper->length == 14);
  CHECK(second.cached[1] == nullptr);
  // Behind two runs, behind one, and from nothing, in one call and out of order.
  const auto x = ids(4, 4), y = ids(2, 5), z = ids(6, 6);
  const auto third =
      run_packed(*model, {{x, all_of(x), deeper}, {z, {5}}, {y, {1}, deeper}, {y, {0, 1}, cached}});
  const auto both = joined(head, question);
  require_close(
      third.hidden,
      at::cat({apart(*model, joined(both, x), {14, 15, 16, 17}), apart(*model, z, {5}),
               apart(*model, joined(both, y), {15}), apart(*model, joined(head, y), {9, 10})}),
      1e-5);
}

TEST_CASE("run_packed: works in 16 bits as the model does") {
  const auto model = test::tiny_model({.width = 4});
  TensorMap weights;
  for (const auto& [name, tensor] : model->state_dict()) weights[name] = tensor.to(at::kBFloat16);
  const auto half = make_model(test::tiny_config({.width = 4}), weights);
  const auto head = ids(9, 1), tail = ids(5, 2);
  const auto cached = run_packed(*half, {{head, {}, nullptr, true}}).cached[0];
  const auto got = run_packed(*half, {{tail, {4}, cached}}).hidden;
  CHECK(got.scalar_type() == at::kBFloat16);
  // Two kernels, each rounding to 8 bits of mantissa at every step.
  require_close(got.to(at::kFloat), apart(*half, joined(head, tail), {13}).to(at::kFloat), 0.1);
}

TEST_CASE("run_packed: what cannot be is refused") {
  const auto model = test::tiny_model();
  CHECK_THROWS_AS(run_packed(*model, {}), std::invalid_argument);
  CHECK_THROWS_AS(run_packed(*model, {{{}, {}}}), std::invalid_argument);
  CHECK_THROWS_WITH(run_packed(*model, {{{1, 2}, {2}}}), Catch::Contains("[0, 2). Got 2"));
  CHECK_THROWS_WITH(run_packed(*model, {{{50}, {}}}), Catch::Contains("[0, 50). Got 50"));
  const auto cached = run_packed(*model, {{ids(60, 1), {}, nullptr, true}}).cached[0];
  CHECK_NOTHROW(run_packed(*model, {{ids(4, 2), {}, cached}}));
  CHECK_THROWS_WITH(run_packed(*model, {{ids(5, 2), {}, cached}}),
                    Catch::Contains("64 positions. Got 65"));
}

TEST_CASE("run_step: goes on token by token as one long sequence does") {
  const auto model = test::tiny_model({.width = 2});
  const auto head = ids(7, 1), a = ids(40, 2), b = ids(40, 3);
  const auto cached = run_packed(*model, {{head, {}, nullptr, true}}).cached[0];
  GrowingTokens x(*cached), y(*run_packed(*model, {{{5, 6}, {}, cached, true}}).cached[0]);
  CHECK(x.length == 7);
  CHECK(y.length == 9);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto got = run_step(*model, {a[i], b[i]}, {&x, &y});
    const auto at = static_cast<int64_t>(i);
    const std::vector<int64_t> before_a(a.begin(), a.begin() + at + 1),
        before_b(b.begin(), b.begin() + at + 1);
    require_close(got[0], apart(*model, joined(head, before_a), {7 + at})[0], 1e-5);
    require_close(got[1], apart(*model, joined(joined(head, {5, 6}), before_b), {9 + at})[0], 1e-5);
  }
  // What has grown can be continued like anything else.
  const auto tail = ids(3, 4);
  const auto got = run_packed(*model, {{tail, {2}, x.cached()}}).hidden;
  require_close(got, apart(*model, joined(joined(head, a), tail), {49}), 1e-5);
}

TEST_CASE("run_step: a sequence's bytes do not depend on the others, their number or order") {
  const auto model = test::tiny_model({.head_dim = 64, .width = 16});
  std::vector<std::shared_ptr<const CachedTokens>> cached;
  for (uint64_t i = 0; i < 40; ++i) {
    cached.push_back(
        run_packed(*model, {{ids(3 + static_cast<int64_t>(i), i), {}, nullptr, true}}).cached[0]);
  }
  // Hidden rows of the sequences `which` after three steps together.
  const auto run = [&](const std::vector<int64_t>& which) {
    std::vector<GrowingTokens> grown;
    std::vector<GrowingTokens*> pointers;
    for (const int64_t i : which) grown.emplace_back(*cached[i]);
    for (auto& tokens : grown) pointers.push_back(&tokens);
    torch::Tensor hidden;
    for (int64_t step = 0; step < 3; ++step) {
      std::vector<int64_t> next;
      for (const int64_t i : which) next.push_back((7 * i + step) % 50);
      hidden = run_step(*model, next, pointers);
    }
    return hidden;
  };
  std::vector<int64_t> all(40);
  std::iota(all.begin(), all.end(), 0);
  auto turned = all;
  std::reverse(turned.begin(), turned.end());
  const auto together = run(all), backwards = run(turned);
  for (const int64_t i : {0, 1, 15, 16, 17, 39}) {
    CHECK(at::equal(run({i})[0], together[i]));
    CHECK(at::equal(backwards[39 - i], together[i]));
    CHECK(at::equal(run({i, 3, 5})[0], together[i]));
  }
}

TEST_CASE("run_packed and run_step: the bytes do not depend on the number of threads") {
  const auto model = test::tiny_model({.head_dim = 32, .width = 8, .positions = 600});
  const auto head = ids(300, 1), tail = ids(9, 2);
  const int before = at::get_num_threads();
  std::vector<torch::Tensor> got;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    const auto cached = run_packed(*model, {{head, {}, nullptr, true}}).cached[0];
    const auto rows =
        run_packed(*model, {{{5}, {0}, cached}, {tail, {8}, cached}, {{1, 2}, {0, 1}}});
    GrowingTokens grown(*cached);
    got.push_back(at::cat({rows.hidden, run_step(*model, {7}, {&grown})}));
  }
  at::set_num_threads(before);
  CHECK(at::equal(got[0], got[1]));
  CHECK(at::equal(got[0], got[2]));
}
