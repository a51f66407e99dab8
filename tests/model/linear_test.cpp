#include "cupel/model/linear.h"

#include <cmath>

#include "support/catch.h"

#include "model/fast_linear.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::testing::require_close;

namespace {

Quantized some_codes() {
  Quantized q;
  q.codes = at::ones({2, 3}, at::kByte);
  q.scales = at::ones({2, 1});
  q.zeros = at::zeros({2, 1}, at::kInt);
  q.group_index = at::zeros({3}, at::kInt);
  q.bits = 4;
  return q;
}

Linear compressed() {
  Linear linear(at::zeros({2, 3}));
  linear.set_compressed(at::ones({2, 3}), at::ones({2, 3}, at::kBool), some_codes());
  return linear;
}

}  // namespace

TEST_CASE("Linear: forward is x W^T + b") {
  const auto weight = at::tensor({1.0f, 2.0f, 3.0f, -1.0f, 0.0f, 4.0f}).reshape({2, 3});
  const auto x = at::tensor({1.0f, 10.0f, 100.0f}).reshape({1, 3});
  CHECK(at::equal(Linear(weight).forward(x), at::tensor({321.0f, 399.0f}).reshape({1, 2})));
  const Linear biased(weight, at::tensor({0.5f, -1.0f}));
  CHECK(at::equal(biased.forward(x), at::tensor({321.5f, 398.0f}).reshape({1, 2})));
}

TEST_CASE("Linear: shapes are checked") {
  CHECK_THROWS_WITH(Linear(at::ones({3})), Catch::Contains("two dimensions. Got [3]"));
  CHECK_THROWS_WITH(Linear(at::ones({2, 3}), at::ones({3})), Catch::Contains("weight [2, 3]"));
  Linear linear(at::ones({2, 3}));
  CHECK_THROWS_WITH(linear.set_weight(at::ones({3, 2})), Catch::Contains("[3, 2] for [2, 3]"));
}

TEST_CASE("Linear: mask and codes stay while the weight is what they describe") {
  const Linear linear = compressed();
  CHECK(linear.mask().defined());
  CHECK(linear.quantized().defined());
  const Linear copy = linear;
  CHECK(copy.mask().defined());
}

TEST_CASE("Linear: a new weight drops mask and codes") {
  Linear linear = compressed();
  linear.set_weight(at::full({2, 3}, 2.0));
  CHECK_FALSE(linear.mask().defined());
  CHECK_FALSE(linear.quantized().defined());
}

TEST_CASE("Linear: an in-place change drops mask and codes") {
  Linear linear = compressed();
  linear.weight().detach().mul_(2.0);  // through another handle of the same memory
  CHECK_FALSE(linear.mask().defined());
  CHECK_FALSE(linear.quantized().defined());
}

TEST_CASE("Linear: a change through state_dict drops mask and codes") {
  const auto model = test::tiny_model();
  const auto linear = model->block(1)->linears(0).front();
  const auto weight = linear.linear->weight();
  linear.linear->set_compressed(weight.clone(), at::ones_like(weight, at::kBool), {});
  REQUIRE(linear.linear->mask().defined());
  model->state_dict().at(linear.name + ".weight").select(0, 0).zero_();
  CHECK_FALSE(linear.linear->mask().defined());
}

TEST_CASE("Linear: 16-bit products are float32 sums rounded once, on any processor") {
  at::manual_seed(3);
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    const auto weight = at::randn({70, 48}).to(dtype), bias = at::randn({70}).to(dtype);
    const auto x = at::randn({1, 33, 48}).to(dtype);
    const Linear linear(weight, bias);
    const auto wide = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    // Half a step of the last place, and what float32 sums of 48 products may add to it.
    const double step = dtype == at::kHalf ? std::ldexp(1.0, -11) : std::ldexp(1.0, -8);
    const auto bound = wide.abs() * (1.01 * step) + 1e-4;
    for (const auto& made : {linear.forward(x), linear.infer(x)}) {
      CHECK(made.scalar_type() == dtype);
      CHECK(at::le((made.to(at::kDouble) - wide).abs(), bound).all().item<bool>());
    }
  }
}

TEST_CASE("any_linear: a weight that is taken in parts gives what the whole gives") {
  at::manual_seed(4);
  // More numbers than are wide at a time.
  const auto weight = at::randn({4200, 2048}).to(at::kBFloat16);
  const auto bias = at::randn({4200}).to(at::kBFloat16), x = at::randn({3, 2048}).to(at::kBFloat16);
  const auto whole = at::linear(x.to(at::kFloat), weight.to(at::kFloat), bias.to(at::kFloat));
  require_close(any_linear(x, weight, bias).to(at::kFloat), whole, 1e-2, 1e-2);
}
