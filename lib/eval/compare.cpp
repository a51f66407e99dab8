#include "cupel/eval/compare.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

template <typename Value>
void check_same(const std::string& task, const char* what, const Value& dense,
                const Value& compressed) {
  check(dense == compressed, "compare", "both models must be scored alike. Got ", task, " with ",
        what, " ", dense, " and ", compressed, ".");
}

void check_manifests(const std::string& task, const EvalResult& dense,
                     const EvalResult& compressed) {
  const auto a = dense.manifests.find(task), b = compressed.manifests.find(task);
  const bool left = a != dense.manifests.end(), right = b != compressed.manifests.end();
  check_same(task, "a manifest:", left ? "yes" : "no", right ? "yes" : "no");
  if (!left) return;
  const std::string difference = manifest_difference(a->second, b->second, false);
  check(difference.empty(), "compare", "both models must be scored alike. Got ", task, " with ",
        difference, ".");
}

std::vector<double> sums(const Perplexity& p) {
  std::vector<double> nats;
  for (std::size_t i = 0; i < p.window_losses.size(); ++i) {
    nats.push_back(p.window_losses[i] * static_cast<double>(p.window_tokens[i]));
  }
  return nats;
}

PairedPerplexity pair(const std::string& task, const Perplexity& dense,
                      const Perplexity& compressed, const CompareOptions& options) {
  check_same(task, "protocol", dense.protocol, compressed.protocol);
  check_same(task, "length", dense.length, compressed.length);
  check_same(task, "text", dense.file_sha256, compressed.file_sha256);
  check_same(task, "tokenizer", dense.tokenizer, compressed.tokenizer);
  check_same(task, "blocks", dense.window_losses.size(), compressed.window_losses.size());
  for (const auto* side : {&dense, &compressed}) {
    check_same(task, "blocks and token counts", side->window_losses.size(),
               side->window_tokens.size());
  }
  check(dense.window_tokens == compressed.window_tokens, "compare",
        "both models must be scored alike. Got ", task, " with blocks of other tokens.");
  const PairedLoss paired =
      paired_loss(sums(dense), sums(compressed), dense.window_tokens, options.level);
  return {task,
          dense.value,
          compressed.value,
          compressed.value / dense.value,
          paired.ln_ratio.value,
          paired.ln_ratio.standard_error,
          paired.ln_ratio.low,
          paired.ln_ratio.high,
          dense.protocol,
          paired.blocks,
          paired.ratio.low,
          paired.ratio.high};
}

// Labels of categories for a draw within them; none where some category has one item, which no
// draw could change.
std::vector<int64_t> strata(const std::vector<ItemScore>& items) {
  std::map<std::string, int64_t> counts, labels;
  for (const auto& item : items) {
    ++counts[item.category];
    labels.emplace(item.category, static_cast<int64_t>(labels.size()));
  }
  for (const auto& [category, count] : counts) {
    if (count < 2) return {};
  }
  std::vector<int64_t> strata;
  for (const auto& item : items) strata.push_back(labels.at(item.category));
  return counts.size() > 1 ? strata : std::vector<int64_t>();
}

bool all(const std::vector<double>& values, bool (*rule)(double)) {
  return std::all_of(values.begin(), values.end(), rule);
}

std::vector<char> right(const std::vector<double>& values) {
  std::vector<char> right;
  for (const double value : values) right.push_back(value == 1);
  return right;
}

bool unparsed(const ItemScore& item) {
  return std::find(item.flags.begin(), item.flags.end(), "unparsed") != item.flags.end();
}

// `left_out` counts items that lack the value on one side because a judge's reply was unparsed.
PairedTask pair(PairedTask made, const std::vector<ItemScore>& dense,
                const std::vector<ItemScore>& compressed, const CompareOptions& options,
                int64_t& left_out) {
  std::vector<double> a, b;
  std::vector<std::string> a_text, b_text;
  std::vector<ItemScore> used;
  for (std::size_t i = 0; i < dense.size(); ++i) {
    const auto left = dense[i].values.find(made.metric),
               right = compressed[i].values.find(made.metric);
    const bool missing_left = left == dense[i].values.end(),
               missing_right = right == compressed[i].values.end();
    if ((missing_left && unparsed(dense[i])) || (missing_right && unparsed(compressed[i]))) {
      ++left_out;
      continue;
    }
    check(missing_left == missing_right, "compare",
          "an item has the same values on both sides. Got ", made.metric, " on one in ", made.task,
          ", item '", printable(dense[i].id, 60), "'.");
    if (missing_left) continue;
    a.push_back(left->second);
    b.push_back(right->second);
    a_text.push_back(dense[i].prediction);
    b_text.push_back(compressed[i].prediction);
    used.push_back(dense[i]);
  }
  if (a.empty()) return made;
  const BootstrapOptions draw{
      .draws = options.draws, .seed = options.seed, .level = options.level, .strata = strata(used)};
  const PairedBootstrap paired = paired_bootstrap(a, b, draw);
  made.items = paired.items;
  made.dense = paired.dense;
  made.compressed = paired.compressed;
  made.difference = paired.difference.value;
  made.standard_error = paired.difference.standard_error;
  made.low = paired.difference.low;
  made.high = paired.difference.high;
  const auto binary = [](double value) { return value == 0 || value == 1; };
  if (all(a, binary) && all(b, binary)) {
    made.flips = count_flips(right(a), right(b), a_text, b_text);
    made.p = mcnemar(made.flips.right_to_wrong, made.flips.wrong_to_right).p;
    if (made.flips.rate() > 0) {
      made.minimum_detectable_effect =
          minimum_detectable_effect(made.items, made.flips.rate(), 1 - options.level);
    }
  }
  const auto positive = [](double value) { return value >= 0; };
  if (all(a, positive) && all(b, positive)) {
    made.verdict = to_string(matching_verdict(a, b, options.matching, draw).verdict);
  }
  return made;
}

void pair_task(const std::string& task, const EvalResult& dense, const EvalResult& compressed,
               const CompareOptions& options, Comparison& comparison) {
  const auto& left = dense.items.at(task);
  const auto& right = compressed.items.at(task);
  check_same(task, "protocols", left.size(), right.size());
  for (const auto& [protocol, items] : left) {
    const auto other = right.find(protocol);
    check(other != right.end(), "compare", "both models must be scored alike. Got ", task,
          " with protocol ", protocol, " on one side.");
    check_same(task, "items", items.size(), other->second.size());
    std::set<std::string> metrics;
    for (std::size_t i = 0; i < items.size(); ++i) {
      check_same(task, "item", printable(items[i].id, 60), printable(other->second[i].id, 60));
      for (const auto& value : items[i].values) metrics.insert(value.first);
    }
    for (const auto& metric : metrics) {
      int64_t left_out = 0;
      PairedTask made =
          pair(PairedTask{task, protocol, metric}, items, other->second, options, left_out);
      if (made.items > 0) comparison.tasks.push_back(std::move(made));
      if (left_out > 0) {
        comparison.notes.push_back(
            c10::str(task, ", ", metric, ": ", left_out, " of ", items.size(),
                     " items have no parsed reply of the judge on one side and are left out."));
      }
    }
  }
}

void note_models(const EvalResult& dense, const EvalResult& compressed, Comparison& comparison) {
  auto& notes = comparison.notes;
  if (!dense.model.fingerprint.empty() && dense.model.fingerprint == compressed.model.fingerprint) {
    notes.push_back("Both sides are the same model.");
  }
  const auto differ = [&](const char* what, const std::string& a, const std::string& b) {
    if (a != b) notes.push_back(c10::str("The models ran with ", what, " ", a, " and ", b, "."));
  };
  differ("dtype", dense.model.dtype, compressed.model.dtype);
  differ("device", dense.model.device, compressed.model.device);
}

}  // namespace

Comparison compare(const EvalResult& dense, const EvalResult& compressed,
                   const CompareOptions& options) {
  Comparison comparison;
  comparison.options = options;
  note_models(dense, compressed, comparison);
  const auto names = [](const EvalResult& result) {
    std::set<std::string> names;
    for (const auto& entry : result.perplexities) names.insert(entry.first);
    for (const auto& entry : result.items) names.insert(entry.first);
    return names;
  };
  const std::set<std::string> left = names(dense), right = names(compressed);
  std::set_symmetric_difference(left.begin(), left.end(), right.begin(), right.end(),
                                std::back_inserter(comparison.unpaired));
  int64_t paired = 0;
  for (const auto& task : right) {
    if (left.count(task) == 0) continue;
    ++paired;
    check_manifests(task, dense, compressed);
    const auto other = dense.perplexities.find(task);
    const auto mine = compressed.perplexities.find(task);
    if (other != dense.perplexities.end() && mine != compressed.perplexities.end()) {
      comparison.perplexities.push_back(pair(task, other->second, mine->second, options));
    } else {
      check(dense.items.count(task) && compressed.items.count(task), "compare",
            "both models must be scored alike. Got ", task, " as a perplexity on one side alone.");
      pair_task(task, dense, compressed, options, comparison);
    }
  }
  check(paired > 0, "compare", "the two evaluations share no task.");
  check(!comparison.perplexities.empty() || !comparison.tasks.empty(), "compare",
        "the tasks that both evaluations hold have no values to compare.");
  std::vector<double> p;
  for (const auto& task : comparison.tasks) {
    if (!std::isnan(task.p)) p.push_back(task.p);
  }
  if (p.empty()) return comparison;
  const std::vector<double> adjusted = holm(p);
  std::size_t next = 0;
  for (auto& task : comparison.tasks) {
    if (!std::isnan(task.p)) task.p_holm = adjusted[next++];
  }
  return comparison;
}

}  // namespace cupel
