#include "cupel/compress/criterion.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

using namespace cupel;

TEST_CASE("magnitude: |w|, compared over the matrix, without statistics") {
  const Criterion criterion = magnitude();
  CHECK(criterion.name == "magnitude");
  CHECK(criterion.needs == Needs::none);
  CHECK(criterion.scope == Scope::matrix);
  const auto weight = at::tensor({1.0f, -2.0f, 0.0f, 3.0f}).reshape({2, 2});
  const auto want = at::tensor({1.0f, 2.0f, 0.0f, 3.0f}).reshape({2, 2});
  CHECK(at::equal(criterion.score(weight, InputStats(2, Needs::none)), want));
}

TEST_CASE("wanda: |w| times the norm of its input column, compared within a row") {
  const Criterion criterion = wanda();
  CHECK(criterion.name == "wanda");
  CHECK(criterion.needs == Needs::sq_norm);
  CHECK(criterion.scope == Scope::row);
  InputStats stats(3, Needs::sq_norm);
  stats.add(at::tensor({3.0f, 0.0f, 1.0f,  //
                        4.0f, 0.0f, 0.0f})
                .reshape({2, 3}));                      // norms 5, 0, 1
  const auto weight = at::tensor({1.0f, -100.0f, 4.0f,  //
                                  -2.0f, 0.0f, 8.0f})
                          .reshape({2, 3});
  const auto want = at::tensor({5.0f, 0.0f, 4.0f,  //
                                10.0f, 0.0f, 8.0f})
                        .reshape({2, 3});
  CHECK(at::equal(criterion.score(weight, stats), want));
}

TEST_CASE("criteria: an unknown name lists the known ones") {
  const auto names = criteria().names();
  CHECK(std::find(names.begin(), names.end(), "wanda") != names.end());
  CHECK_THROWS_AS(criteria().get("wandaa"), std::invalid_argument);
  CHECK_THROWS_WITH(criteria().get("wandaa"), Catch::Contains("unknown criterion 'wandaa'") &&
                                                  Catch::Contains("magnitude") &&
                                                  Catch::Contains("wanda."));
}

TEST_CASE("criteria: one's own joins and leaves, a taken name is refused") {
  criteria().add("own", {"own", Needs::none,
                         [](const torch::Tensor& weight, const InputStats&) { return -weight; }});
  CHECK(criteria().get("own").scope == Scope::row);
  CHECK_THROWS_AS(criteria().add("own", magnitude()), std::invalid_argument);
  criteria().remove("own");
  CHECK_THROWS_AS(criteria().get("own"), std::invalid_argument);
}
