#include "cupel/compress/prune.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>
#include <limits>

#include "compress/prune_rows.h"
#include "core/json.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

// Whether the scores of a criterion need not be written down.
bool by_rows(const Criterion& criterion, const Pattern& pattern, Scope scope,
             const torch::Tensor& weight) {
  return criterion.column_factor && (pattern.is_n_of_m() || scope == Scope::row) &&
         weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.is_contiguous();
}

}  // namespace

Prune::Prune(Criterion criterion, Pattern pattern, PruneOptions options)
    : criterion_(std::move(criterion)), pattern_(pattern), options_(options) {
  check(static_cast<bool>(criterion_.score), "Prune", "criterion '", criterion_.name,
        "' has no score function.");
}

Prune::Prune(const std::string& criterion, Pattern pattern, PruneOptions options)
    : Prune(criteria().get(criterion), pattern, options) {}

std::string Prune::name() const { return criterion_.name + " " + pattern_.to_string(); }

std::string Prune::options_json() const {
  const Scope scope = pattern_.scope == Scope::automatic ? criterion_.scope : pattern_.scope;
  return dump_json({{"method", "prune"},
                    {"criterion", criterion_.name},
                    {"pattern", pattern_.to_string()},
                    {"sparsity", pattern_.sparsity},
                    {"scope", pattern_.is_n_of_m() ? "n:m" : to_string(scope)},
                    {"rules", to_string(options_.rules)}});
}

LayerResult Prune::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  check_task("Prune", task, criterion_.needs);
  // Inputs that are all zero tell weights apart by magnitude alone.
  const bool all_dead =
      criterion_.needs != Needs::none && task.stats.dead_columns() == task.stats.columns();
  Pattern pattern = pattern_;
  pattern.count = task.prune_count;
  const Scope scope = pattern_.scope == Scope::automatic ? criterion_.scope : pattern_.scope;
  LayerResult result;
  if (!all_dead && by_rows(criterion_, pattern_, scope, task.weight)) {
    const auto rule = row_rule(pattern, task.weight.sizes(), options_.rules, task.name);
    const auto factor = criterion_.column_factor(task.stats).to(at::kFloat).contiguous();
    check(factor.sizes() == task.weight.size(1), "Prune", "criterion '", criterion_.name,
          "' must have one factor a column. Got ", factor.sizes(), " for ", task.weight.sizes(),
          " in ", task.name, ".");
    auto made = prune_rows(task.weight.detach(), factor, task.mask, rule, task.name);
    result.mask = made.mask;
    result.weight = made.weight;
  } else {
    const auto weight = task.weight.detach().to(at::kFloat);
    auto scores = all_dead ? weight.abs() : criterion_.score(weight, task.stats);
    check(scores.defined() && scores.sizes() == task.weight.sizes(), "Prune", "criterion '",
          criterion_.name, "' must score every weight. Got ",
          scores.defined() ? scores.sizes() : at::IntArrayRef(), " for ", task.weight.sizes(),
          " in ", task.name, ".");
    if (task.mask.defined()) {  // what is already gone is spent first
      scores = at::where(task.mask, scores, -std::numeric_limits<double>::infinity());
    }
    result.mask = keep_mask(scores, pattern, criterion_.scope, options_.rules, task.name);
    if (task.mask.defined()) result.mask = at::logical_and(result.mask, task.mask);
    result.weight = at::where(result.mask, task.weight, 0);
  }
  finish_result(task, result);
  if (all_dead) {
    result.notes.push_back("every input was zero in calibration: pruned by magnitude instead");
  }
  if (!pattern_.is_n_of_m()) {
    result.notes.push_back("compared by " + to_string(scope));
  }
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
