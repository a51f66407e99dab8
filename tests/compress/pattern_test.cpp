#include "cupel/compress/pattern.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include "support/catch.h"
#include <limits>
#include <vector>

#include "cupel/core/error.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;

namespace {

const std::vector<double> kSparsities{0, 1e-6, 0.1, 0.3, 0.5, 0.7, 0.999, 1};
const std::vector<std::vector<int64_t>> kShapes{{1, 1}, {1, 257}, {257, 1}, {7, 13}, {33, 100}};

// The rule in words: sort a group by score, then index; the first `count` go.
torch::Tensor slow_mask(const torch::Tensor& scores, int64_t group, int64_t count) {
  auto mask = at::ones({scores.numel()}, at::kBool);
  const auto flat = scores.reshape({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += group) {
    std::vector<int64_t> order(group);
    for (int64_t i = 0; i < group; ++i) order[i] = begin + i;
    // Equal scores: the lower index is kept, so the higher one stands first in the queue to go.
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const float x = flat[a].item<float>(), y = flat[b].item<float>();
      return x != y ? x < y : a > b;
    });
    for (int64_t i = 0; i < count; ++i) mask[order[i]] = false;
  }
  return mask.reshape(scores.sizes());
}

int64_t pruned(const torch::Tensor& mask) { return mask.numel() - mask.sum().item<int64_t>(); }

}  // namespace

TEST_CASE("keep_mask: by matrix, exactly floor(s * n) go, and the lowest ones") {
  for (const auto& shape : kShapes) {
    const auto scores = seeded_normal(shape, 1).abs();
    for (const double s : kSparsities) {
      INFO(scores.sizes() << " at " << s);
      const auto mask = keep_mask(scores, matrix_wise(s));
      const auto count = static_cast<int64_t>(s * static_cast<double>(scores.numel()));
      CHECK(mask.scalar_type() == at::kBool);
      CHECK(pruned(mask) == count);
      CHECK(at::equal(mask, slow_mask(scores, scores.numel(), count)));
    }
  }
}

TEST_CASE("keep_mask: by row, exactly floor(s * columns) of each row go") {
  for (const auto& shape : kShapes) {
    const auto scores = seeded_normal(shape, 2).abs();
    for (const double s : kSparsities) {
      INFO(scores.sizes() << " at " << s);
      const auto mask = keep_mask(scores, row_wise(s));
      const auto count = static_cast<int64_t>(s * static_cast<double>(shape[1]));
      CHECK((mask.logical_not().sum(1) == count).all().item<bool>());
      CHECK(at::equal(mask, slow_mask(scores, shape[1], count)));
    }
  }
}

TEST_CASE("keep_mask: ties keep the lower column") {
  const auto equal = at::ones({3, 8});
  const auto first_half = at::arange(8).lt(4).expand({3, 8});
  CHECK(at::equal(keep_mask(equal, row_wise(0.5)), first_half));
  CHECK(
      at::equal(keep_mask(equal, n_of_m(2, 4)), (at::arange(8).remainder(4)).lt(2).expand({3, 8})));
  CHECK(at::equal(keep_mask(equal, matrix_wise(0.5)).reshape({-1}), at::arange(24).lt(12)));
  const auto steps = at::randint(0, 3, {9, 40}, at::detail::createCPUGenerator(4)).to(at::kFloat);
  for (const double s : kSparsities) {
    const auto mask = keep_mask(steps, row_wise(s));
    CHECK(at::equal(mask, slow_mask(steps, 40, static_cast<int64_t>(s * 40))));
  }
}

TEST_CASE("keep_mask: n of m is exact in every group") {
  for (const auto& [n, m] : {std::pair(2, 4), {4, 8}, {1, 4}, {3, 4}, {0, 2}, {4, 4}, {1, 1}}) {
    INFO(n << ":" << m);
    const auto scores = seeded_normal({13, 48}, 3).abs();
    const auto mask = keep_mask(scores, n_of_m(n, m));
    CHECK((mask.reshape({-1, m}).sum(1) == n).all().item<bool>());
    CHECK(at::equal(mask, slow_mask(scores, m, m - n)));
  }
}

TEST_CASE("keep_mask: many rows run in parallel chunks with the same result") {
  const auto scores = seeded_normal({900, 256}, 5);
  CHECK(at::equal(keep_mask(scores, row_wise(0.5)).slice(0, 890, 900),
                  keep_mask(scores.slice(0, 890, 900), row_wise(0.5))));
}

TEST_CASE("keep_mask: columns that m does not divide are refused with shape and layer") {
  const auto mask = [] {
    keep_mask(at::ones({16, 254}), n_of_m(2, 4), Scope::row, Rules::exact, "layers.3.down_proj");
  };
  CHECK_THROWS_AS(mask(), std::invalid_argument);
  CHECK_THROWS_WITH(mask(), Catch::Contains("[n_of_m] columns must be a multiple of 4. Got weight "
                                            "[16, 254] in layers.3.down_proj"));
}

TEST_CASE("keep_mask: NaN scores are refused, infinite ones are ordered") {
  auto scores = at::ones({2, 4});
  scores[1][2] = std::numeric_limits<float>::quiet_NaN();
  const auto mask = [&] { keep_mask(scores, row_wise(0.5), Scope::row, Rules::exact, "q_proj"); };
  CHECK_THROWS_AS(mask(), NumericalError);
  CHECK_THROWS_WITH(mask(), Catch::Contains("row 1, column 2 in q_proj"));
  scores[1][2] = -std::numeric_limits<float>::infinity();
  scores[0][3] = std::numeric_limits<float>::infinity();
  const auto kept = keep_mask(scores, row_wise(0.25));
  CHECK_FALSE(kept[1][2].item<bool>());
  CHECK(kept[0][3].item<bool>());
  CHECK(pruned(kept) == 2);
}

TEST_CASE("keep_mask: scores of 16 bits, of float64 and in other strides") {
  const auto scores = seeded_normal({12, 8}, 6).to(at::kBFloat16);
  const auto mask = keep_mask(scores, row_wise(0.5));
  CHECK(at::equal(mask, keep_mask(scores.to(at::kFloat), row_wise(0.5))));
  CHECK(at::equal(mask, keep_mask(scores.t().contiguous().t(), row_wise(0.5))));
  CHECK_THROWS_AS(keep_mask(at::ones({4}), row_wise(0.5)), std::invalid_argument);
  CHECK_THROWS_AS(keep_mask(torch::Tensor(), row_wise(0.5)), std::invalid_argument);
  CHECK(keep_mask(at::ones({0, 4}), row_wise(0.5)).sizes() == at::IntArrayRef({0, 4}));
}

TEST_CASE("keep_mask: an unstructured pattern takes the scope it is given") {
  auto scores = at::arange(8).reshape({2, 4}).to(at::kFloat);  // the first row is the lower one
  CHECK(at::equal(keep_mask(scores, unstructured(0.5), Scope::matrix).sum(1),
                  at::tensor({int64_t{0}, int64_t{4}})));
  CHECK(at::equal(keep_mask(scores, unstructured(0.5), Scope::row).sum(1),
                  at::tensor({int64_t{2}, int64_t{2}})));
  CHECK(at::equal(keep_mask(scores, row_wise(0.5), Scope::matrix).sum(1),
                  at::tensor({int64_t{2}, int64_t{2}})));  // the pattern's own scope wins
  CHECK_THROWS_AS(keep_mask(scores, unstructured(0.5), Scope::block), std::invalid_argument);
}

TEST_CASE("keep_mask: the published matrix rule takes one too many and all ties") {
  const auto scores = seeded_normal({64, 256}, 7).abs();
  const auto published = [](const torch::Tensor& t, double s) {
    return keep_mask(t, matrix_wise(s), Scope::matrix, Rules::published);
  };
  CHECK(pruned(published(scores, 0.5)) == 64 * 256 / 2 + 1);
  CHECK(pruned(published(scores, 0.0)) == 1);
  CHECK(pruned(published(at::ones({4, 4}), 0.5)) == 16);
  CHECK_THROWS_AS(published(scores, 1.0), std::invalid_argument);
  CHECK_THROWS_WITH(published(scores, 1.0), Catch::Contains("sparsity 1; use rules=\"exact\""));
}

TEST_CASE("keep_mask: the published row rule is a stable sort: exact counts, lower ties go") {
  const auto equal = at::ones({2, 8});
  const auto mask = keep_mask(equal, row_wise(0.5), Scope::row, Rules::published);
  CHECK(at::equal(mask, at::arange(8).ge(4).expand({2, 8})));
  const auto scores = seeded_normal({5, 257}, 8);
  CHECK(at::equal(keep_mask(scores, row_wise(0.5), Scope::row, Rules::published),
                  keep_mask(scores, row_wise(0.5))));
}

TEST_CASE("pattern: constructors check their numbers and say themselves") {
  CHECK(n_of_m(2, 4).sparsity == 0.5);
  CHECK(n_of_m(1, 4).sparsity == 0.75);
  CHECK(n_of_m(2, 4).to_string() == "2:4");
  CHECK(unstructured(0.5).to_string() == "50%");
  CHECK(row_wise(0.7).to_string() == "70% by row");
  CHECK(matrix_wise(0.25).to_string() == "25% by matrix");
  for (const double wrong : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(unstructured(wrong), std::invalid_argument);
    CHECK_THROWS_AS(row_wise(wrong), std::invalid_argument);
    CHECK_THROWS_AS(matrix_wise(wrong), std::invalid_argument);
  }
  CHECK_THROWS_WITH(n_of_m(3, 2), Catch::Contains("0 <= n <= m") && Catch::Contains("Got 3:2"));
  CHECK_THROWS_AS(n_of_m(-1, 4), std::invalid_argument);
  CHECK_THROWS_AS(n_of_m(0, 0), std::invalid_argument);
}

TEST_CASE("parse_pattern: forms and refusals") {
  CHECK(parse_pattern("2:4").n == 2);
  CHECK(parse_pattern("2:4").m == 4);
  CHECK(parse_pattern("0.5").sparsity == 0.5);
  CHECK_FALSE(parse_pattern("0.5").is_n_of_m());
  CHECK(parse_pattern("0").sparsity == 0);
  CHECK(parse_pattern("1").sparsity == 1);
  for (const char* wrong :
       {"", ":", "2:", ":4", "2:4:8", "2 : 4", "a:b", "half", "50%", "0.5 ", " 0.5", "1.5", "-0.1",
        "nan", "inf", "3:2", "2:0", "2:-4", "99999999999999999999:4"}) {
    INFO("'" << wrong << "'");
    CHECK_THROWS_AS(parse_pattern(wrong), std::invalid_argument);
  }
  CHECK_THROWS_WITH(parse_pattern("half"), Catch::Contains("such as 2:4, or a fraction"));
}

TEST_CASE("parse_rules: two words") {
  CHECK(parse_rules("exact") == Rules::exact);
  CHECK(parse_rules("published") == Rules::published);
  CHECK(to_string(Rules::published) == "published");
  CHECK_THROWS_WITH(parse_rules("paper"), Catch::Contains("exact or published. Got 'paper'"));
}
