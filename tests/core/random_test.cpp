// Expected values were printed by CPython's random.Random.
#include "cupel/core/random.h"

#include "support/catch.h"

#include <stdexcept>
#include <vector>

using cupel::PythonRandom;

namespace {

std::vector<int64_t> draws(uint64_t seed, int count, int64_t low, int64_t high) {
  PythonRandom random(seed);
  std::vector<int64_t> values;
  for (int i = 0; i < count; ++i) values.push_back(random.randint(low, high));
  return values;
}

}  // namespace

TEST_CASE("random: 32-bit words are CPython's", "[core]") {
  PythonRandom random(0);
  CHECK(random.next_u32() == 3626764237u);
  CHECK(random.next_u32() == 1654615998u);
  CHECK(random.next_u32() == 3255389356u);
}

TEST_CASE("random: a seed above 32 bits uses both its words", "[core]") {
  PythonRandom random((uint64_t{1} << 40) + 7);
  CHECK(random.next_u32() == 2635837658u);
  CHECK(random.next_u32() == 3209733218u);
  CHECK(random.next_u32() == 3500038837u);
}

TEST_CASE("random: the state is renewed after 624 words", "[core]") {
  PythonRandom random(7);
  for (int i = 0; i < 1000; ++i) random.next_u32();
  CHECK(random.next_u32() == 3192093819u);
}

TEST_CASE("random: randint draws the published windows", "[core]") {
  CHECK(draws(0, 4, 0, 356316) == std::vector<int64_t>{201979, 220500, 21225, 135746});
  CHECK(draws(1, 4, 0, 356316) == std::vector<int64_t>{70445, 298426, 33086, 133729});
  CHECK(draws(42, 4, 0, 356316) == std::vector<int64_t>{335243, 58369, 13112, 144194});
  CHECK(draws(3, 8, -5, 5) == std::vector<int64_t>{-2, 4, 3, -3, 0, 4, 2, 5});
}

TEST_CASE("random: ranges above 32 bits are CPython's", "[core]") {
  PythonRandom random(5);
  const uint64_t size = (uint64_t{1} << 40) + 3;
  CHECK(random.below(size) == 561021090885u);
  CHECK(random.below(size) == 789164966041u);
  CHECK(random.below(size) == 549512532852u);
}

TEST_CASE("random: uniform numbers are CPython's", "[core]") {
  PythonRandom zero(0), answer(42);
  CHECK(zero.uniform() == 0.8444218515250481);
  CHECK(zero.uniform() == 0.7579544029403025);
  CHECK(answer.uniform() == 0.6394267984578837);
}

TEST_CASE("random: a range of one value is that value", "[core]") {
  CHECK(draws(9, 3, 17, 17) == std::vector<int64_t>{17, 17, 17});
}

TEST_CASE("random: empty ranges are the caller's mistake", "[core]") {
  PythonRandom random(0);
  CHECK_THROWS_AS(random.below(0), std::invalid_argument);
  CHECK_THROWS_AS(random.randint(3, 2), std::invalid_argument);
}
