#include "cupel/checkpoint/packing.h"

#include "support/catch.h"

#include <stdexcept>

using cupel::dequantize;
using cupel::packed_bytes;
using cupel::Quantized;

namespace {

/// Two rows of six columns in two groups of three.
Quantized small() {
  Quantized q;
  q.codes = torch::tensor({{0, 1, 2, 3, 4, 5}, {7, 6, 5, 4, 3, 2}}).to(torch::kUInt8);
  q.scales = torch::tensor({{0.5f, 2.0f}, {0.25f, 1.0f}});
  q.zeros = torch::tensor({{1, 3}, {4, 0}}).to(torch::kInt32);
  q.group_index = torch::tensor({0, 0, 0, 1, 1, 1}).to(torch::kInt32);
  q.bits = 3;
  return q;
}

}  // namespace

TEST_CASE("dequantize: (code - zero) * scale of each column's group", "[checkpoint]") {
  const auto weight = dequantize(small());
  CHECK(weight.scalar_type() == torch::kFloat32);
  CHECK(weight.equal(torch::tensor(
      {{-0.5f, 0.0f, 0.5f, 0.0f, 2.0f, 4.0f}, {0.75f, 0.5f, 0.25f, 4.0f, 3.0f, 2.0f}})));
}

TEST_CASE("dequantize: groups may be in any order of columns", "[checkpoint]") {
  Quantized q = small();
  q.group_index = torch::tensor({1, 0, 1, 0, 1, 0}).to(torch::kInt32);
  CHECK(dequantize(q)[0].equal(torch::tensor({-6.0f, 0.0f, -2.0f, 1.0f, 2.0f, 2.0f})));
}

TEST_CASE("dequantize: each product is one rounding in float32", "[checkpoint]") {
  Quantized q;
  q.codes = torch::randint(0, 256, {8, 32}).to(torch::kUInt8);
  q.scales = torch::rand({8, 4}) * 0.01 + 1e-4;
  q.zeros = torch::randint(0, 256, {8, 4}).to(torch::kInt32);
  q.group_index = torch::arange(32).div(8, "floor").to(torch::kInt32);
  q.bits = 8;
  const auto weight = dequantize(q);
  for (int row = 0; row < 8; ++row) {
    for (int column = 0; column < 32; ++column) {
      const int code = q.codes[row][column].item<int>();
      const int zero = q.zeros[row][column / 8].item<int>();
      const float scale = q.scales[row][column / 8].item<float>();
      const float expected = static_cast<float>(code - zero) * scale;
      REQUIRE(weight[row][column].item<float>() == expected);
    }
  }
}

TEST_CASE("dequantize: parts that do not fit are the caller's mistake", "[checkpoint]") {
  const auto refuse = [](auto change, const char* rule) {
    Quantized q = small();
    change(q);
    CHECK_THROWS_WITH(dequantize(q), Catch::StartsWith("[dequantize] ") && Catch::Contains(rule));
    CHECK_THROWS_AS(dequantize(q), std::invalid_argument);
  };
  refuse([](Quantized& q) { q.codes = torch::Tensor(); }, "needed together");
  refuse([](Quantized& q) { q.bits = 0; }, "bits must be between 1 and 8. Got 0");
  refuse([](Quantized& q) { q.bits = 9; }, "bits");
  refuse([](Quantized& q) { q.bits = 2; }, "codes must be below 2^2. Got 7");
  refuse([](Quantized& q) { q.codes = q.codes.to(torch::kInt32); }, "codes must be uint8");
  refuse([](Quantized& q) { q.scales = q.scales[0]; }, "scales must be");
  refuse([](Quantized& q) { q.zeros = q.zeros.slice(1, 0, 1); }, "zeros must be");
  refuse([](Quantized& q) { q.group_index = q.group_index.slice(0, 0, 5); }, "group_index must be");
  refuse([](Quantized& q) { q.group_index[3] = 2; }, "group_index must lie in [0, 2)");
  refuse([](Quantized& q) { q.group_index[3] = -1; }, "group_index must lie in");
}

TEST_CASE("packed_bytes: a dense weight is its own bytes", "[checkpoint]") {
  CHECK(packed_bytes(torch::ones({3, 5}), {}, {}) == 60);
  CHECK(packed_bytes(torch::ones({3, 5}, torch::kBFloat16), {}, {}) == 30);
  CHECK(packed_bytes(torch::ones({5, 3}).t(), {}, {}) == 60);
}

TEST_CASE("packed_bytes: a pruned weight is a bit each and the kept values", "[checkpoint]") {
  const auto mask = torch::tensor({{1, 0, 1, 0, 1}, {0, 0, 0, 0, 0}}).to(torch::kBool);
  CHECK(packed_bytes(torch::ones({2, 5}), mask, {}) == 2 + 3 * 4);  // 10 bits are 2 bytes
  CHECK(packed_bytes(torch::ones({2, 5}, torch::kFloat16), mask, {}) == 2 + 3 * 2);
  CHECK(packed_bytes(torch::ones({2, 5}), torch::zeros_like(mask), {}) == 2);
}

TEST_CASE("packed_bytes: codes, scales and zero points are counted exactly", "[checkpoint]") {
  const auto weight = torch::ones({2, 6});
  CHECK(packed_bytes(weight, {}, small()) == 5 + 4 * 4 + 2);  // 36 bits, 4 scales, 12 bits
  CHECK(packed_bytes(weight, {}, small(), 2) == 5 + 4 * 2 + 2);
  CHECK(packed_bytes(weight, {}, small(), 2, true) == 5 + 4 * 2);
}

TEST_CASE("packed_bytes: pruned and quantized counts only the kept codes", "[checkpoint]") {
  auto mask = torch::zeros({2, 6}, torch::kBool);
  mask[0][1] = true;
  mask[1][4] = true;
  mask[1][5] = true;
  CHECK(packed_bytes(torch::ones({2, 6}), mask, small()) == 2 + 2 + 16 + 2);  // 12 and 9 bits
}

TEST_CASE("packed_bytes: shapes must agree", "[checkpoint]") {
  const auto weight = torch::ones({2, 6});
  CHECK_THROWS_AS(packed_bytes({}, {}, {}), std::invalid_argument);
  CHECK_THROWS_AS(packed_bytes(torch::ones({12}), {}, {}), std::invalid_argument);
  CHECK_THROWS_AS(packed_bytes(weight, torch::ones({2, 5}, torch::kBool), {}),
                  std::invalid_argument);
  CHECK_THROWS_AS(packed_bytes(weight, torch::ones({2, 6}), {}), std::invalid_argument);
  CHECK_THROWS_AS(packed_bytes(torch::ones({2, 7}), {}, small()), std::invalid_argument);
}
