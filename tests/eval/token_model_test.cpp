#include "cupel/eval/token_model.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

#include "cupel/model/model.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::testing::require_close;

namespace {

const std::vector<int64_t> kTokens{3, 14, 15, 9, 26, 5};

CallableTokenModel callable(CallableTokenModel::Function function) {
  return CallableTokenModel(std::move(function), {.vocabulary = 5, .max_length = 8});
}

}  // namespace

TEST_CASE("NativeTokenModel: says what the model is") {
  const auto model = test::tiny_model();
  const TokenModelInfo info = NativeTokenModel(*model).info();
  CHECK(info.vocabulary == 50);
  CHECK(info.max_length == 64);
  CHECK(info.device == "cpu");
  CHECK(info.fingerprint == model->fingerprint());
  CHECK(info.has_states);
}

TEST_CASE("NativeTokenModel: logits are the model's at the wanted positions, in order") {
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  const auto all = model->logits(at::tensor(at::ArrayRef<int64_t>(kTokens)).unsqueeze(0))[0];
  const auto got = native.logits(kTokens, {5, 0, 2});
  CHECK(got.scalar_type() == at::kFloat);
  // The head runs on other row counts: float32 rounding.
  require_close(got, at::stack({all[5], all[0], all[2]}), 1e-5);
}

TEST_CASE("NativeTokenModel: a state gives what running everything gives") {
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  const auto whole = native.logits(kTokens, {3, 4, 5});
  const auto state = native.prefill({3, 14, 15});
  CHECK(state->length() == 3);
  // The same numbers by other kernels: float32 rounding.
  require_close(native.logits({9, 26, 5}, {0, 1, 2}, state), whole, 1e-5);
  const auto longer = native.prefill({9}, state);
  CHECK(longer->length() == 4);
  CHECK(state->length() == 3);  // a state is not changed by what follows it
  require_close(native.logits({26, 5}, {0, 1}, longer), whole.slice(0, 1, 3), 1e-5);
  require_close(native.logits({9, 26, 5}, {0, 1, 2}, state), whole, 1e-5);
}

TEST_CASE("TokenModel: a run gives the wanted rows of each sequence, in order") {
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  const std::vector<TokenModel::Row> rows{{{3, 14}, {1}}, {{9, 26, 5}, {0, 2}}, {{35, 8, 9}, {}}};
  const auto want = at::cat({native.logits({3, 14}, {1}), native.logits({9, 26, 5}, {0, 2})});
  require_close(native.logits(rows), want, 1e-5);  // together by other kernels: float32 rounding
  CHECK_THROWS_AS(native.logits(std::vector<TokenModel::Row>{}), std::invalid_argument);
  CHECK_THROWS_AS(native.logits({{{3, 14}, {2}}}), std::invalid_argument);
}

TEST_CASE("NativeTokenModel: positions, ids and states that cannot be are refused") {
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  CHECK_THROWS_WITH(native.logits(kTokens, {6}), Catch::Contains("[0, 6). Got 6"));
  CHECK_THROWS_AS(native.logits(kTokens, {-1}), std::invalid_argument);
  CHECK_THROWS_AS(native.logits({50}, {0}), std::invalid_argument);
  CHECK_THROWS_AS(native.logits({}, {}), std::invalid_argument);
  const std::vector<int64_t> most(64, 1);
  CHECK_NOTHROW(native.logits(most, {63}));
  CHECK_THROWS_WITH(native.logits({1}, {0}, native.prefill(most)), Catch::Contains("64 positions"));
  struct Other : TokenModel::State {
    int64_t length() const override { return 1; }
  };
  CHECK_THROWS_WITH(native.logits({1}, {0}, std::make_shared<Other>()),
                    Catch::Contains("the state comes from another model"));
}

TEST_CASE("CallableTokenModel: any function of tokens, with or without a batch dimension") {
  const auto squared = [](const torch::Tensor& tokens) {
    return tokens[0].unsqueeze(1).mul(at::arange(5)).to(at::kDouble);  // [length, 5]
  };
  auto flat = callable(squared);
  auto batched = callable([=](const torch::Tensor& t) { return squared(t).unsqueeze(0); });
  const auto want = at::tensor({0.0f, 3.0f, 6.0f, 9.0f, 12.0f}).unsqueeze(0);
  CHECK(at::equal(flat.logits({1, 3, 2}, {1}), want));
  CHECK(at::equal(batched.logits({1, 3, 2}, {1}), want));
  CHECK_FALSE(flat.info().has_states);
  CHECK_THROWS_WITH(flat.prefill({1}), Catch::Contains("keeps no states"));
}

TEST_CASE("CallableTokenModel: logits of a wrong shape are refused with what is right") {
  const auto wrong = [](torch::Tensor logits) {
    auto model = callable([=](const torch::Tensor&) { return logits; });
    model.logits({1, 2, 3}, {0});
  };
  CHECK_THROWS_WITH(wrong(at::zeros({1, 3, 4})), Catch::Contains("[3, 5]. Got [3, 4]"));
  CHECK_THROWS_AS(wrong(at::zeros({2, 5})), std::invalid_argument);
  CHECK_THROWS_AS(wrong(at::zeros({2, 3, 5})), std::invalid_argument);
  CHECK_THROWS_AS(wrong(torch::Tensor()), std::invalid_argument);
  CHECK_NOTHROW(wrong(at::zeros({1, 3, 5})));
  CHECK_THROWS_AS(callable({}), std::invalid_argument);
  CHECK_THROWS_AS(CallableTokenModel([](const torch::Tensor& t) { return t; }, {}),
                  std::invalid_argument);
}
