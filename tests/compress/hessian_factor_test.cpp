#include "compress/hessian_factor.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>
#include <limits>

#include "core/large_tensor.h"
#include "support/layer.h"
#include "support/require_close.h"

using namespace cupel;
using cupel::test::seeded_normal;
using cupel::testing::require_close;

namespace {

torch::Tensor positive_definite(int64_t n, uint64_t seed, torch::Dtype dtype = at::kDouble) {
  const auto x = seeded_normal({2 * n + 3, n}, seed).to(at::kDouble);
  return (x.t().matmul(x) / static_cast<double>(n)).to(dtype);
}

Hessian hessian_of(const torch::Tensor& matrix) {
  Hessian hessian;
  hessian.matrix = matrix.to(at::kFloat);
  hessian.wide = matrix.to(at::kDouble);
  hessian.diagonal = hessian.matrix.diagonal().clone();
  hessian.dead = hessian.diagonal == 0;
  hessian.mean = hessian.matrix.diagonal().mean().item<double>();
  return hessian;
}

}  // namespace

TEST_CASE("upper_factor: R is upper triangular and R R^T gives the matrix back") {
  for (const int64_t n : {1, 2, 127, 128, 129, 300}) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const auto matrix = positive_definite(n, n, dtype);
      const auto upper = upper_factor(matrix);
      INFO(n << " " << dtype);
      REQUIRE(upper.defined());
      CHECK(upper.scalar_type() == dtype);
      CHECK(at::equal(upper, upper.triu()));
      CHECK((upper.diagonal() > 0).all().item<bool>());
      require_close(upper.matmul(upper.t()), matrix, dtype == at::kFloat ? 1e-4 : 1e-12);
    }
  }
}

TEST_CASE(
    "upper_factor: a large factor in memory that was used before has zeros below its diagonal") {
  const auto matrix = positive_definite(1100, 4, at::kFloat);
  large_empty({1100, 1100}, matrix.options()).fill_(std::numeric_limits<float>::quiet_NaN());
  const auto upper = upper_factor(matrix);
  CHECK(at::equal(upper, upper.triu()));
  require_close(upper.matmul(upper.t()), matrix, 1e-4);
}

TEST_CASE("upper_factor: its inverse is the upper Cholesky factor of the inverse") {
  const auto matrix = positive_definite(200, 5);
  const auto inverse = upper_inverse(upper_factor(matrix));
  const auto expected = at::linalg_cholesky(at::linalg_inv(matrix), /*upper=*/true);
  require_close(inverse, expected, 1e-9);
}

TEST_CASE("upper_factor: reads the upper triangle alone") {
  const auto matrix = positive_definite(150, 6, at::kFloat);
  auto other = matrix.clone();
  other.tril_(-1);  // nonsense below the diagonal
  other = matrix.triu() + other * 3;
  CHECK(at::equal(upper_factor(other), upper_factor(matrix)));
}

TEST_CASE("upper_factor: refuses NaN, Inf and what is not positive definite") {
  for (const double bad : {std::nan(""), double(INFINITY), -double(INFINITY)}) {
    for (const auto& [row, column] :
         std::vector<std::pair<int, int>>{{3, 3}, {2, 140}, {140, 149}}) {
      auto matrix = positive_definite(150, 7, at::kFloat);
      matrix[row][column] = bad;
      INFO(bad << " at " << row << ", " << column);
      CHECK_FALSE(upper_factor(matrix).defined());
    }
  }
  auto indefinite = positive_definite(150, 8);
  indefinite.diagonal().slice(0, 70, 71).fill_(-1.0);
  CHECK_FALSE(upper_factor(indefinite).defined());
  CHECK_FALSE(upper_factor(at::zeros({4, 4})).defined());
}

TEST_CASE("factor_tile, invert_tile: every width up to a whole tile") {
  for (const int64_t n : {1, 3, 4, 15, 16, 17, 100, 127, 128}) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const auto matrix = positive_definite(n, 20 + n, dtype);
      const auto whole = at::zeros({n + 3, n + 5}, dtype);  // a tile is a part of a larger matrix
      const auto tile = whole.slice(0, 1, n + 1).slice(1, 2, n + 2);
      tile.copy_(matrix);
      INFO(n << " " << dtype);
      REQUIRE(factor_tile(tile));
      const double close = dtype == at::kFloat ? 1e-4 : 1e-11;
      CHECK(at::equal(tile, tile.triu()));
      require_close(tile.matmul(tile.t()), matrix, close);
      const auto inverse = invert_tile(tile);
      CHECK(inverse.scalar_type() == dtype);
      CHECK(at::equal(inverse, inverse.triu()));
      require_close(inverse.matmul(tile), at::eye(n, dtype), close);
      CHECK(whole.sum().item<double>() == Approx(tile.sum().item<double>()));  // nothing beside it
      const auto singular = matrix.clone();
      singular[n - 1][n - 1] = -1.0;
      const auto before = singular.clone();
      CHECK_FALSE(factor_tile(singular));
      CHECK(at::equal(singular, before));
    }
  }
}

TEST_CASE("factor_hessian: a good matrix leaves no rungs") {
  const auto made = factor_hessian(hessian_of(positive_definite(64, 9)), 0.01);
  CHECK(made.upper.scalar_type() == at::kFloat);
  CHECK(made.damping == 0.01);
  CHECK(made.rungs.empty());
}

TEST_CASE("factor_hessian: float64 where float32 has too few digits, and it says so") {
  // Two columns that agree to one part in 2^10: the pivot is 2^-19 of the diagonal.
  auto matrix = at::eye(2, at::kFloat);
  matrix[0][1] = matrix[1][0] = 1.0f - 0x1p-20f;
  const auto made = factor_hessian(hessian_of(matrix), 0.0);
  CHECK(made.upper.scalar_type() == at::kDouble);
  CHECK(made.damping == 0.0);
  REQUIRE(made.rungs.size() == 2);
  CHECK_THAT(made.rungs[0], Catch::Contains("float32"));
  CHECK_THAT(made.rungs[1], Catch::Contains("float64: positive definite"));
}

TEST_CASE("factor_hessian: the ladder raises the damping until there is a factor") {
  auto matrix = at::eye(8, at::kFloat);
  matrix[0][0] = -0.05f;  // as an overflow or a bad update might leave it
  const auto made = factor_hessian(hessian_of(matrix), 0.0);
  REQUIRE(made.upper.defined());
  CHECK(made.damping == Approx(0.1));  // 0.1 * mean 0.87 makes up for -0.05, 0.01 does not
  REQUIRE(made.rungs.size() == 6);     // 0 twice, 1e-4, 1e-3, 1e-2, 1e-1
  CHECK_THAT(made.rungs.back(), Catch::Contains("positive definite"));
  CHECK_THAT(made.rungs[2], Catch::Contains("not positive definite"));
}

TEST_CASE("factor_hessian: what no damping mends ends in no factor, every rung told") {
  auto matrix = at::eye(4, at::kFloat);
  matrix[0][1] = matrix[1][0] = 1e6f;
  const auto made = factor_hessian(hessian_of(matrix), 0.01);
  CHECK_FALSE(made.upper.defined());
  CHECK_THAT(made.rungs.back(), Catch::Contains("diagonal at least"));
}

TEST_CASE("make_hessian: published rules count sequences and put 1 on a dead diagonal") {
  auto x = seeded_normal({30, 6}, 10);
  x.select(1, 2).zero_();
  InputStats stats(6);
  for (const auto& part : x.split(10)) stats.add(part);
  const auto exact = make_hessian(stats, Rules::exact, at::kCPU);
  const auto published = make_hessian(stats, Rules::published, at::kCPU);
  const auto gram = x.t().matmul(x);
  require_close(exact.matrix, gram * (2.0 / 30), 1e-5);
  require_close(published.matrix.select(0, 0), gram.select(0, 0) * (2.0 / 3), 1e-5);
  CHECK(exact.diagonal[2].item<float>() == 0.0f);
  CHECK(published.diagonal[2].item<float>() == 1.0f);
  CHECK(exact.dead.nonzero().flatten().item<int64_t>() == 2);
  CHECK(published.mean == Approx(published.diagonal.mean().item<double>()));
}
