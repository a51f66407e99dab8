// Units are what is drawn: items, or clusters summed. Groups are ranges of units that keep their
// size: strata, or one range of everything.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/eval/statistics.h"
#include "eval/bootstrap_draws.h"

namespace cupel {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kRounding = 1e-12;  // of a score, when two scores are compared

struct Unit {
  double dense = 0, compressed = 0, items = 0;
};

struct Means {
  double dense = 0, compressed = 0;
};

struct Sample {
  std::vector<Unit> units;
  std::vector<std::size_t> ends;  // of the groups
  Means means;
  bool varies() const { return ends.size() < units.size(); }  // some group has two units
};

Means means_of(const Unit& total) {
  return {total.dense / total.items, total.compressed / total.items};
}

void add(Unit& total, const Unit& unit) {
  total.dense += unit.dense;
  total.compressed += unit.compressed;
  total.items += unit.items;
}

void check_finite(const char* function, const char* model, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw NumericalError(c10::str("[", function, "] scores must be finite. Got ", values[i],
                                  " for item ", i, " of the ", model, " model."));
  }
}

void check_input(const char* function, const std::vector<double>& dense,
                 const std::vector<double>& compressed, const BootstrapOptions& options) {
  check(dense.size() == compressed.size(), function, "both models need a score for each item. Got ",
        dense.size(), " and ", compressed.size(), " scores.");
  check(!dense.empty(), function, "there must be items. Got none.");
  check(options.draws >= 1, function, "draws is at least 1. Got ", options.draws, ".");
  check(options.level > 0 && options.level < 1, function, "level lies in (0, 1). Got ",
        options.level, ".");
  check(options.strata.empty() || options.clusters.empty(), function,
        "items are drawn within strata or in whole clusters, not both. Got labels for both.");
  check(options.strata.empty() || options.strata.size() == dense.size(), function,
        "strata need one label an item. Got ", options.strata.size(), " for ", dense.size(),
        " items.");
  check(options.clusters.empty() || options.clusters.size() == dense.size(), function,
        "clusters need one label an item. Got ", options.clusters.size(), " for ", dense.size(),
        " items.");
  check_finite(function, "dense", dense);
  check_finite(function, "compressed", compressed);
}

Sample make_sample(const std::vector<double>& dense, const std::vector<double>& compressed,
                   const BootstrapOptions& options) {
  Sample sample;
  std::map<int64_t, std::vector<Unit>> strata;
  std::map<int64_t, Unit> clusters;
  Unit total;
  for (std::size_t i = 0; i < dense.size(); ++i) {
    const Unit unit{dense[i], compressed[i], 1};
    add(total, unit);
    if (!options.clusters.empty()) {
      add(clusters[options.clusters[i]], unit);
    } else {
      strata[options.strata.empty() ? 0 : options.strata[i]].push_back(unit);
    }
  }
  sample.means = means_of(total);
  for (const auto& [label, cluster] : clusters) strata[0].push_back(cluster);
  for (const auto& [label, units] : strata) {
    sample.units.insert(sample.units.end(), units.begin(), units.end());
    sample.ends.push_back(sample.units.size());
  }
  return sample;
}

std::vector<Means> resample(const Sample& sample, const BootstrapOptions& options) {
  std::vector<Means> draws(options.draws);
  const DrawPlan plan{options.seed, options.draws, {sample.ends.begin(), sample.ends.end()}};
  each_draw(plan, [&](int64_t i, const std::vector<uint32_t>& units) {
    Unit total;
    for (const uint32_t unit : units) add(total, sample.units[unit]);
    draws[i] = means_of(total);
  });
  return draws;
}

// The estimate of a statistic of the two means from its value in each draw.
template <typename Statistic>
Estimate estimate(const Sample& sample, const std::vector<Means>& draws, double level,
                  const Statistic& statistic) {
  Estimate result{statistic(sample.means), kNaN, kNaN, kNaN};
  std::vector<double> values;
  values.reserve(draws.size());
  for (const Means& means : draws) values.push_back(statistic(means));
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!sample.varies() || !finite(result.value) ||
      !std::all_of(values.begin(), values.end(), finite)) {
    return result;
  }
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  if (n > 1) result.standard_error = std::sqrt(squares / (n - 1));
  result.low = quantile(values, (1 - level) / 2);
  result.high = quantile(std::move(values), 1 - (1 - level) / 2);
  return result;
}

double ratio_of(const Means& means) {
  return means.dense == 0 ? kNaN : means.compressed / means.dense;
}

void check_fraction(const char* function, double fraction) {
  check(fraction > 0 && fraction <= 1, function, "fraction lies in (0, 1]. Got ", fraction, ".");
}

void check_score(const char* function, double score) {
  check(score >= 0, function, "scores are not negative. Got ", score, ".");
}

}  // namespace

PairedBootstrap paired_bootstrap(const std::vector<double>& dense,
                                 const std::vector<double>& compressed,
                                 const BootstrapOptions& options) {
  check_input("paired_bootstrap", dense, compressed, options);
  const Sample sample = make_sample(dense, compressed, options);
  const auto draws = resample(sample, options);
  PairedBootstrap result{static_cast<int64_t>(dense.size()),
                         options.draws,
                         sample.means.dense,
                         sample.means.compressed,
                         {},
                         {}};
  result.difference = estimate(sample, draws, options.level,
                               [](const Means& means) { return means.compressed - means.dense; });
  result.ratio = estimate(sample, draws, options.level, ratio_of);
  return result;
}

std::string to_string(Match match) {
  switch (match) {
    case Match::matching:
      return "matching";
    case Match::not_matching:
      return "not matching";
    case Match::undecided:
      break;
  }
  return "undecided";
}

bool matching(double dense, double compressed, double fraction) {
  check_fraction("matching", fraction);
  check_score("matching", dense);
  check_score("matching", compressed);
  return compressed - fraction * dense >= -kRounding * dense;
}

MatchVerdict matching_verdict(const std::vector<double>& dense,
                              const std::vector<double>& compressed, double fraction,
                              const BootstrapOptions& options) {
  const char* here = "matching_verdict";
  check_fraction(here, fraction);
  check_input(here, dense, compressed, options);
  for (std::size_t i = 0; i < dense.size(); ++i)
    check_score(here, std::min(dense[i], compressed[i]));
  const Sample sample = make_sample(dense, compressed, options);
  const auto [before, after] = sample.means;
  MatchVerdict result{Match::undecided,
                      matching(before, after, fraction),
                      fraction,
                      before,
                      after,
                      estimate(sample, resample(sample, options), options.level,
                               [=](const Means& m) { return m.compressed - fraction * m.dense; })};
  const double tie = -kRounding * before;
  if (result.margin.low >= tie) result.verdict = Match::matching;
  if (result.margin.high < tie) result.verdict = Match::not_matching;
  return result;
}

}  // namespace cupel
