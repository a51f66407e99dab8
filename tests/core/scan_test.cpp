#include "core/scan.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "support/catch.h"

using namespace cupel;

TEST_CASE("largest_magnitude: the largest, whatever the dtype, the sign and the layout") {
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const int64_t size : {1, 15, 70000}) {
      auto x = at::full({size}, 0.25, dtype);
      x[size - 1] = -3.5;
      INFO(dtype << " " << size);
      CHECK(largest_magnitude(x) == 3.5);
      CHECK(largest_magnitude(x.unsqueeze(1).expand({size, 2})) == 3.5);
    }
  }
  CHECK(largest_magnitude(at::zeros({3})) == 0);
  CHECK(largest_magnitude(at::empty({0, 4})) == 0);
  CHECK(largest_magnitude(at::full({2}, 1e-42, at::kFloat)) > 0);
}

TEST_CASE("largest_magnitude: anything that is not finite makes it infinite") {
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const double bad : {std::nan(""), -std::nan(""), double(INFINITY), -double(INFINITY)}) {
      auto x = at::ones({100000}, dtype);
      x[777] = bad;
      INFO(dtype << " " << bad);
      CHECK(std::isinf(largest_magnitude(x)));
    }
  }
}

TEST_CASE("count_zeros: of either sign, at any size") {
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    auto x = at::ones({70001}, dtype);
    x.slice(0, 5, 70001, 7).zero_();
    x[0] = -0.0;
    x[1] = 1e-7;
    CHECK(count_zeros(x) == (x == 0).sum().item<int64_t>());
    CHECK(count_zeros(x) > 9000);
  }
  auto marks = at::ones({70001}, at::kBool);
  marks.slice(0, 5, 70001, 7).fill_(false);
  CHECK(count_zeros(marks) == marks.logical_not().sum().item<int64_t>());
}

TEST_CASE("magnitudes: the largest and the zeros at once") {
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const int64_t size : {0, 1, 17, 70001, 200000}) {
      auto x = at::randn({size}).to(dtype);
      x.slice(0, 0, size, 3).zero_();
      INFO(dtype << " " << size);
      CHECK(magnitudes(x).largest == largest_magnitude(x));
      CHECK(magnitudes(x).zeros == count_zeros(x));
      CHECK(magnitudes(x.expand({2, size}).t()).zeros == 2 * count_zeros(x));
    }
  }
  auto bad = at::zeros({100000});
  bad[99999] = std::nan("");
  CHECK(std::isinf(magnitudes(bad).largest));
  CHECK(magnitudes(bad).zeros == 99999);
}
