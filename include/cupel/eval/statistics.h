#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cupel {

// What a difference between two models is worth, from scores of the same items. Everything here is
// paired: item i of `dense` and item i of `compressed` are the same question. A value that is not
// finite is a NumericalError that names its index, any other mistake std::invalid_argument.

struct Interval {
  double low = 0, high = 0;
};

/// A number and its uncertainty.
struct Estimate {
  double value = 0;
  double standard_error = 0;
  double low = 0, high = 0;  ///< the confidence interval
};

/// Tests of "as many items became wrong as became right", all two-sided.
struct McNemar {
  int64_t right_to_wrong = 0, wrong_to_right = 0;
  double exact = 1;      ///< p of the binomial test
  double mid_p = 1;      ///< its mid-p: less conservative (Fagerland et al. 2013)
  double statistic = 0;  ///< (|b - c| - 1)^2 / (b + c), 0 where b = c (Edwards 1948)
  double corrected = 1;  ///< p of the statistic, chi-square with 1 degree of freedom
  double p = 1;          ///< the one to use: exact below 25 discordant items, else corrected
};

/// McNemar's test from the counts of discordant items. Without any, every p is 1.
McNemar mcnemar(int64_t right_to_wrong, int64_t wrong_to_right);

/// What became of each item. The four counts add up to `items`.
struct Flips {
  int64_t right_to_wrong = 0, wrong_to_right = 0;
  int64_t changed_wrong = 0;  ///< wrong twice, by different answers
  int64_t same = 0;           ///< right twice, or the same wrong answer
  int64_t items = 0;
  double net() const;   ///< (wrong_to_right - right_to_wrong) / items: the change of accuracy
  double rate() const;  ///< (right_to_wrong + wrong_to_right) / items (Dutta et al., 2407.09141)
};

/// Counts flips; each vector has one entry an item.
Flips count_flips(const std::vector<char>& dense_right, const std::vector<char>& compressed_right,
                  const std::vector<std::string>& dense_answers,
                  const std::vector<std::string>& compressed_answers);

struct BootstrapOptions {
  int64_t draws = 10000;
  uint64_t seed = 0;
  double level = 0.95;  ///< of the intervals
  /// Empty, or a label of each item (its subject): a draw has as many of each as the data.
  std::vector<int64_t> strata = {};
  /// Empty, or a label of each item (its dialogue): items of one label are drawn together.
  std::vector<int64_t> clusters = {};
};

/// Means of the same items under two models. Standard errors and intervals are NaN where no draw
/// can differ from the data: one item, one cluster, or strata of one item each.
struct PairedBootstrap {
  int64_t items = 0, draws = 0;
  double dense = 0, compressed = 0;  ///< means
  Estimate difference;               ///< compressed - dense
  /// compressed / dense. All NaN when the dense mean is 0; its error and interval are NaN when it
  /// is 0 in any draw.
  Estimate ratio;
};

/// Paired percentile bootstrap (Efron and Tibshirani 1993, chapter 13): items are drawn with
/// replacement, both models' scores of an item together. Draws come from PythonRandom, 16 to a
/// generator, so the seed alone decides them, not the number of threads. `strata` and `clusters`
/// exclude each other. 10,000 draws of 14,000 items take about a second on one core.
PairedBootstrap paired_bootstrap(const std::vector<double>& dense,
                                 const std::vector<double>& compressed,
                                 const BootstrapOptions& options = {});

/// Whether a compressed model keeps `fraction` of the dense one's score.
enum class Match { matching, not_matching, undecided };

/// "matching", "not matching" or "undecided".
std::string to_string(Match match);

struct MatchVerdict {
  /// By the interval of `margin`: matching when all of it is >= 0, not matching when all of it is
  /// below 0, undecided when it holds 0 inside (or is NaN).
  Match verdict = Match::undecided;
  bool score_matches = false;        ///< the paper's rule: matching(dense, compressed, fraction)
  double fraction = 0.95;            ///< 1 - eps0
  double dense = 0, compressed = 0;  ///< mean scores
  Estimate margin;                   ///< compressed - fraction * dense
};

/// The rule of LLM-KICK for two scores, larger = better: compressed >= fraction * dense, to within
/// rounding. (Jaiswal et al., arXiv 2310.01382: eps0 = 1 - fraction = 5 %.)
bool matching(double dense, double compressed, double fraction = 0.95);

/// The same from scores item by item (not negative, larger = better), with a paired bootstrap to
/// say whether the items suffice for a verdict. fraction in (0, 1].
MatchVerdict matching_verdict(const std::vector<double>& dense,
                              const std::vector<double>& compressed, double fraction = 0.95,
                              const BootstrapOptions& options = {});

/// Losses of the same text under two models, by blocks (windows, documents).
struct PairedLoss {
  int64_t blocks = 0, tokens = 0;
  double dense = 0, compressed = 0;  ///< nats per token
  Estimate ln_ratio;                 ///< compressed - dense, nats per token
  Estimate ratio;                    ///< of the perplexities, exp(ln_ratio); error by delta method
  double correlation = 0;            ///< of the blocks' losses (their residuals; see paired_loss)
  double unpaired_standard_error = 0;  ///< of ln_ratio, had the two texts been different ones
};

/// ln(perplexity ratio) = sum(compressed - dense) / sum(tokens), from each block's summed nats and
/// number of scored tokens. Tokens of a block are not independent, so the error is that of the ratio
/// estimator over blocks: residuals e = difference - ln_ratio * tokens, error =
/// sqrt(n / (n - 1) * sum e^2) / sum(tokens) (Cochran 1977, chapter 6). The interval is Student's
/// with n - 1 degrees of freedom. One block: errors, intervals and correlation are NaN; the
/// correlation also where a model's residuals are all 0.
PairedLoss paired_loss(const std::vector<double>& dense, const std::vector<double>& compressed,
                       const std::vector<int64_t>& tokens, double level = 0.95);

/// Standard error of one model's nats per token, over blocks as in paired_loss. NaN for one block.
double block_standard_error(const std::vector<double>& losses, const std::vector<int64_t>& tokens);

/// p-values adjusted for testing all of them at once, in the order given (Holm 1979).
std::vector<double> holm(const std::vector<double>& p);

/// The smallest difference of accuracy that a two-sided McNemar test of `items` items finds with
/// probability `power`, when the share `discordant_rate` of them changes between right and wrong.
/// Solves items = (z_a sqrt(r) + z_b sqrt(r - d^2))^2 / d^2 for d, with normal quantiles z_a at
/// 1 - significance / 2 and z_b at power (Connor, Biometrics 43, 1987). Infinity when no difference
/// is found so often: d cannot exceed r.
double minimum_detectable_effect(int64_t items, double discordant_rate, double significance = 0.05,
                                 double power = 0.8);

/// Wilson's interval for the proportion right / items (Wilson 1927).
Interval wilson(int64_t right, int64_t items, double level = 0.95);

/// The q-quantile, interpolated linearly as numpy does by default; q in [0, 1].
double quantile(std::vector<double> values, double q);

}  // namespace cupel
