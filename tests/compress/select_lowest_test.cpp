#include "compress/select_lowest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "support/catch.h"

using namespace cupel;

namespace {

// By a stable sort: what goes first stands first.
std::vector<bool> by_sorting(const std::vector<float>& scores, int64_t count, bool lower_first) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  if (!lower_first) std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
  std::vector<bool> keep(scores.size(), true);
  for (int64_t i = 0; i < count; ++i) keep[order[i]] = false;
  return keep;
}

std::vector<bool> selected(const std::vector<float>& scores, int64_t count, bool lower_first) {
  const auto keep = std::make_unique<bool[]>(scores.size());
  keep_all_but_lowest(scores.data(), keep.get(), scores.size(), count, lower_first);
  return std::vector<bool>(keep.get(), keep.get() + scores.size());
}

// Of many sizes, with ties, both zeros, infinities, negative and tiny numbers.
std::vector<float> scores_of(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> scores(size);
  for (auto& score : scores) {
    switch (random() % 8) {
      case 0:
        score = std::round(normal(random) * 2);
        break;
      case 1:
        score = std::ldexp(std::abs(normal(random)), -140);
        break;
      case 2:
        score = random() % 9 == 0 ? -std::numeric_limits<float>::infinity() : -0.0f;
        break;
      default:
        score = normal(random);
    }
  }
  return scores;
}

}  // namespace

TEST_CASE("keep_all_but_lowest: what a stable sort says, at any size and count") {
  for (const int64_t size : {1, 2, 15, 100, 5000, 65536, 65537, 300000}) {
    const auto scores = scores_of(size, static_cast<uint32_t>(size));
    for (const double share : {0.0, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0}) {
      const auto count = static_cast<int64_t>(share * static_cast<double>(size));
      for (const bool lower_first : {false, true}) {
        INFO(size << " scores, " << count << " go, lower_first " << lower_first);
        CHECK(selected(scores, count, lower_first) == by_sorting(scores, count, lower_first));
      }
    }
  }
}

TEST_CASE("keep_all_but_lowest: equal scores only") {
  const std::vector<float> scores(70000, 0.25f);
  CHECK(selected(scores, 30000, false) == by_sorting(scores, 30000, false));
  CHECK(selected(scores, 30000, true) == by_sorting(scores, 30000, true));
}

TEST_CASE("keep_all_but_lowest_of_m: each group by itself") {
  for (const int64_t m : {1, 2, 4, 7, 32}) {
    const int64_t groups = 999;
    const auto scores = scores_of(groups * m, static_cast<uint32_t>(m));
    for (const int64_t count : {int64_t{0}, m / 2, m}) {
      for (const bool lower_first : {false, true}) {
        const auto keep = std::make_unique<bool[]>(scores.size());
        keep_all_but_lowest_of_m(scores.data(), keep.get(), groups, m, count, lower_first);
        bool same = true;
        for (int64_t group = 0; group < groups; ++group) {
          const auto first = scores.begin() + group * m;
          const auto expected = by_sorting({first, first + m}, count, lower_first);
          same = same && std::equal(expected.begin(), expected.end(), keep.get() + group * m);
        }
        INFO("groups of " << m << ", " << count << " go, lower_first " << lower_first);
        CHECK(same);
      }
    }
  }
}

TEST_CASE("keep_above_sorted: what equals the score at the index goes as well") {
  const std::vector<float> scores{3, 1, 2, 2, 5, 2};
  bool keep[6];
  keep_above_sorted(scores.data(), keep, 6, 2);
  CHECK(std::vector<bool>(keep, keep + 6) ==
        std::vector<bool>{true, false, false, false, true, false});
}

TEST_CASE("find_nan: the first one, of either sign, and no infinity") {
  std::vector<float> scores = scores_of(200000, 1);
  CHECK(find_nan(scores.data(), 200000) == -1);
  for (const int64_t at : {199999, 70000, 3}) {
    scores[at] = at == 70000 ? -std::nanf("") : std::nanf("1");
    CHECK(find_nan(scores.data(), 200000) == at);
  }
}
