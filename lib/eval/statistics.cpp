#include "cupel/eval/statistics.h"

#include <unsupported/Eigen/SpecialFunctions>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

namespace {

double normal_quantile(double p) { return Eigen::numext::ndtri(p); }

struct BinomialTail {
  double point, tail;  // P(X = k), P(X <= k)
};

// X ~ Binomial(n, 1/2), k <= n / 2. Terms from the middle down, relative to the middle's: unlike
// factorials they keep their digits for any n. The upper half mirrors the lower.
BinomialTail fair_coin(double n, double k) {
  constexpr double least = std::numeric_limits<double>::min();  // below it terms stop falling
  double term = 1, total = 0, point = 0, tail = 0;
  for (double i = std::floor(n / 2); i >= 0 && term > std::max(1e-18 * tail, least); --i) {
    total += 2 * i == n ? term : 2 * term;
    if (i == k) point = term;
    if (i <= k) tail += term;
    term *= i / (n - i + 1);
  }
  return {point / total, tail / total};
}

}  // namespace

McNemar mcnemar(int64_t right_to_wrong, int64_t wrong_to_right) {
  constexpr int64_t most = int64_t{1} << 40;  // keeps the sum of terms short
  check(right_to_wrong >= 0 && right_to_wrong <= most && wrong_to_right >= 0 &&
            wrong_to_right <= most,
        "mcnemar", "counts lie in [0, 2^40]. Got ", right_to_wrong, " and ", wrong_to_right, ".");
  McNemar test{.right_to_wrong = right_to_wrong, .wrong_to_right = wrong_to_right};
  const auto b = static_cast<double>(right_to_wrong), c = static_cast<double>(wrong_to_right);
  const double discordant = b + c;
  if (discordant == 0) return test;
  const auto [point, tail] = fair_coin(discordant, std::min(b, c));
  const double distance = std::max(std::abs(b - c) - 1, 0.0);
  test.exact = b == c ? 1 : std::min(2 * tail, 1.0);
  test.mid_p = b == c ? 1 - point / 2 : std::min(2 * tail, 1.0) - point;
  test.statistic = distance * distance / discordant;
  test.corrected = std::erfc(std::sqrt(test.statistic / 2));
  test.p = discordant < 25 ? test.exact : test.corrected;
  return test;
}

double Flips::net() const {
  return static_cast<double>(wrong_to_right - right_to_wrong) / static_cast<double>(items);
}

double Flips::rate() const {
  return static_cast<double>(right_to_wrong + wrong_to_right) / static_cast<double>(items);
}

Flips count_flips(const std::vector<char>& dense_right, const std::vector<char>& compressed_right,
                  const std::vector<std::string>& dense_answers,
                  const std::vector<std::string>& compressed_answers) {
  const std::size_t items = dense_right.size();
  check(items == compressed_right.size() && items == dense_answers.size() &&
            items == compressed_answers.size(),
        "count_flips", "both models need a verdict and an answer for each item. Got ", items,
        " and ", compressed_right.size(), " verdicts, ", dense_answers.size(), " and ",
        compressed_answers.size(), " answers.");
  check(items > 0, "count_flips", "there must be items. Got none.");
  Flips flips;
  flips.items = static_cast<int64_t>(items);
  for (std::size_t i = 0; i < items; ++i) {
    const bool before = dense_right[i] != 0, after = compressed_right[i] != 0;
    if (before != after) {
      ++(before ? flips.right_to_wrong : flips.wrong_to_right);
    } else {
      ++(before || dense_answers[i] == compressed_answers[i] ? flips.same : flips.changed_wrong);
    }
  }
  return flips;
}

std::vector<double> holm(const std::vector<double>& p) {
  check(!p.empty(), "holm", "there must be p-values. Got none.");
  for (std::size_t i = 0; i < p.size(); ++i) {
    check(p[i] >= 0 && p[i] <= 1, "holm", "p-values lie in [0, 1]. Got ", p[i], " at index ", i,
          ".");
  }
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;  // an adjusted value is never below that of a smaller p
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(largest, 1.0);
  }
  return adjusted;
}

double minimum_detectable_effect(int64_t items, double discordant_rate, double significance,
                                 double power) {
  const char* here = "minimum_detectable_effect";
  check(items >= 1, here, "there must be items. Got ", items, ".");
  check(discordant_rate > 0 && discordant_rate <= 1, here,
        "discordant_rate is a fraction in (0, 1]. Got ", discordant_rate, ".");
  check(significance > 0 && significance < 1, here, "significance lies in (0, 1). Got ",
        significance, ".");
  check(power > significance && power < 1, here, "power lies between significance and 1. Got ",
        power, " with significance ", significance, ".");
  constexpr double never = std::numeric_limits<double>::infinity();
  const auto n = static_cast<double>(items);
  const double a = -normal_quantile(significance / 2), b = normal_quantile(power);
  if (n <= a * a) return never;  // even if every item changed one way
  // Squaring the term with b leaves a quadratic in d; this root also solves what was squared.
  const double d = std::sqrt(discordant_rate) *
                   (a * std::sqrt(n) + b * std::sqrt(n + b * b - a * a)) / (n + b * b);
  return d <= discordant_rate ? d : never;
}

Interval wilson(int64_t right, int64_t items, double level) {
  check(items >= 1, "wilson", "there must be items. Got ", items, ".");
  check(right >= 0 && right <= items, "wilson", "right lies between 0 and items. Got ", right,
        " of ", items, ".");
  check(level > 0 && level < 1, "wilson", "level lies in (0, 1). Got ", level, ".");
  const auto n = static_cast<double>(items);
  const double p = static_cast<double>(right) / n, z = -normal_quantile((1 - level) / 2);
  const double shrink = 1 + z * z / n, centre = (p + z * z / (2 * n)) / shrink;
  const double half = z / shrink * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  // At the ends a bound is 0 or 1 exactly, which rounding would miss.
  return {right == 0 ? 0 : centre - half, right == items ? 1 : centre + half};
}

double quantile(std::vector<double> values, double q) {
  check(!values.empty(), "quantile", "there must be values. Got none.");
  check(q >= 0 && q <= 1, "quantile", "q lies in [0, 1]. Got ", q, ".");
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw NumericalError(
        c10::str("[quantile] values must be finite. Got ", values[i], " at index ", i, "."));
  }
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::ptrdiff_t>(position);
  const double part = position - static_cast<double>(below);
  const auto at = values.begin() + below;
  std::nth_element(values.begin(), at, values.end());
  if (part == 0) return *at;
  const double low = *at, high = *std::min_element(at + 1, values.end()), step = high - low;
  // From the nearer end, as numpy: the result stays between the two.
  return part < 0.5 ? low + step * part : high - step * (1 - part);
}

}  // namespace cupel
