#include "cupel/model/linear.h"

#include "support/catch.h"

#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;

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
