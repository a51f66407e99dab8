#include <unsupported/Eigen/SpecialFunctions>

#include <cmath>
#include <limits>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/eval/statistics.h"

namespace cupel {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

int64_t count_tokens(const char* function, const std::vector<int64_t>& tokens) {
  check(!tokens.empty(), function, "there must be blocks. Got none.");
  int64_t total = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    check(tokens[i] >= 1, function, "each block has scored tokens. Got ", tokens[i], " in block ",
          i, ".");
    check(tokens[i] <= std::numeric_limits<int64_t>::max() - total, function,
          "the number of tokens must fit 64 bits. Got more by block ", i, ".");
    total += tokens[i];
  }
  return total;
}

double sum_losses(const char* function, const char* model, const std::vector<double>& losses,
                  const std::vector<int64_t>& tokens) {
  check(losses.size() == tokens.size(), function, "losses and tokens have one entry a block. Got ",
        losses.size(), " losses", model, " and ", tokens.size(), " token counts.");
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (!std::isfinite(losses[i])) {
      throw NumericalError(c10::str("[", function, "] losses must be finite. Got ", losses[i],
                                    model, " in block ", i, "."));
    }
    sum += losses[i];
  }
  return sum;
}

// What each block's loss differs from its share of the whole; they add up to 0.
std::vector<double> residuals(const std::vector<double>& losses, const std::vector<int64_t>& tokens,
                              double mean) {
  std::vector<double> left(losses.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    left[i] = losses[i] - mean * static_cast<double>(tokens[i]);
  }
  return left;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Length of a vector of residuals; 0 when that is what rounding left of a sum of `size`.
double spread(const std::vector<double>& left, double size) {
  const double length = std::sqrt(dot(left, left));
  return length > 1e-13 * std::abs(size) ? length : 0;
}

// From the sum of squares of n residuals.
double standard_error(double squares, std::size_t n, double tokens) {
  if (n < 2) return kNaN;
  const auto blocks = static_cast<double>(n);
  return std::sqrt(blocks / (blocks - 1) * squares) / tokens;
}

// t with P(|T| < t) = level for Student's T: I_x(1/2, f/2) at x = t^2 / (f + t^2), by bisection.
double student_quantile(double level, double freedom) {
  const auto within = [&](double t) {
    return Eigen::numext::betainc(0.5, freedom / 2, t * t / (freedom + t * t));
  };
  double low = 0, high = 1;
  while (within(high) < level && high < 1e150) high *= 2;
  for (double middle = high / 2; low < middle && middle < high; middle = low + (high - low) / 2) {
    (within(middle) < level ? low : high) = middle;
  }
  return high;
}

}  // namespace

PairedLoss paired_loss(const std::vector<double>& dense, const std::vector<double>& compressed,
                       const std::vector<int64_t>& tokens, double level) {
  const char* here = "paired_loss";
  check(level > 0 && level < 1, here, "level lies in (0, 1). Got ", level, ".");
  PairedLoss result;
  result.tokens = count_tokens(here, tokens);
  result.blocks = static_cast<int64_t>(tokens.size());
  const auto total = static_cast<double>(result.tokens);
  result.dense = sum_losses(here, " of the dense model", dense, tokens) / total;
  result.compressed = sum_losses(here, " of the compressed model", compressed, tokens) / total;

  const std::size_t n = tokens.size();
  std::vector<double> differences(n);
  for (std::size_t i = 0; i < n; ++i) differences[i] = compressed[i] - dense[i];
  // The differences' own sum: a difference of two sums would lose the digits that matter here.
  const double ln_ratio = sum_losses(here, " of a difference", differences, tokens) / total;
  const auto paired = residuals(differences, tokens, ln_ratio);
  const auto before = residuals(dense, tokens, result.dense);
  const auto after = residuals(compressed, tokens, result.compressed);
  const double spread_before = spread(before, result.dense * total);
  const double spread_after = spread(after, result.compressed * total);
  const bool both = n > 1 && spread_before > 0 && spread_after > 0;
  result.correlation = both ? dot(before, after) / spread_before / spread_after : kNaN;
  result.unpaired_standard_error = std::hypot(standard_error(dot(before, before), n, total),
                                              standard_error(dot(after, after), n, total));

  const double error = standard_error(dot(paired, paired), n, total);
  const double half = n > 1 ? student_quantile(level, static_cast<double>(n - 1)) * error : kNaN;
  result.ln_ratio = {ln_ratio, error, ln_ratio - half, ln_ratio + half};
  const double ratio = std::exp(ln_ratio);
  result.ratio = {ratio, ratio * error, std::exp(ln_ratio - half), std::exp(ln_ratio + half)};
  return result;
}

double block_standard_error(const std::vector<double>& losses, const std::vector<int64_t>& tokens) {
  const auto total = static_cast<double>(count_tokens("block_standard_error", tokens));
  const double mean = sum_losses("block_standard_error", "", losses, tokens) / total;
  const auto left = residuals(losses, tokens, mean);
  return standard_error(dot(left, left), left.size(), total);
}

}  // namespace cupel
