#include "cupel/compress/sparsegpt.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>
#include <limits>

#include "compress/grid_result.h"
#include "compress/sweep_setup.h"
#include "core/json.h"
#include "cupel/compress/criterion.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

namespace {

const char* const kHere = "SparseGpt";

// What a weight's absolute value is multiplied with, [in] float32.
torch::Tensor column_importance(const std::string& saliency, const SweepSetup& setup,
                                const InputStats& stats, Rules rules) {
  const auto options = setup.weight().options();
  if (saliency == "magnitude") return at::ones({setup.weight().size(1)}, options);
  if (saliency == "wanda") return stats.sq_norm().sqrt().to(options.device());
  // 1 / U_ii = R_ii. An input that was always zero is worth nothing, whatever the damping adds.
  const auto diagonal = setup.factor().diagonal().to(at::kFloat);
  if (rules == Rules::published) return diagonal.contiguous();
  return at::where(setup.dead(), at::zeros_like(diagonal), diagonal);
}

torch::Tensor spend_pruned_first(const torch::Tensor& scores, const torch::Tensor& keep) {
  if (!keep.defined()) return scores;
  return at::where(keep, scores, -std::numeric_limits<double>::infinity());
}

// How many of the first `columns` columns' weights go, of `all` columns with `total` weights.
int64_t cumulative(double sparsity, int64_t count, int64_t rows, int64_t columns, int64_t all) {
  if (count >= 0) return count * columns / all;
  return static_cast<int64_t>(sparsity * static_cast<double>(rows * columns));
}

// The mask of one block of columns, by scores [out, columns].
torch::Tensor choose_block(const torch::Tensor& scores, const SweepColumns& at, int64_t columns,
                           const Pattern& pattern, Rules rules, const std::string& name) {
  const int64_t rows = scores.size(0);
  if (rules == Rules::published && pattern.count < 0 && pattern.scope != Scope::row) {
    // Squared, as published: there the squares decide ties.
    return keep_mask(scores.square(), {.sparsity = pattern.sparsity}, Scope::matrix, rules, name);
  }
  if (pattern.scope == Scope::row) {
    std::vector<int64_t> counts(rows);
    const auto whole = pattern.count < 0 ? std::vector<int64_t>(rows, -1)
                                         : split_among_rows(pattern.count, rows);
    for (int64_t row = 0; row < rows; ++row) {
      counts[row] = cumulative(pattern.sparsity, whole[row], 1, at.end, columns) -
                    cumulative(pattern.sparsity, whole[row], 1, at.begin, columns);
    }
    return keep_all_but(scores, counts, false, name);
  }
  const int64_t count = cumulative(pattern.sparsity, pattern.count, rows, at.end, columns) -
                        cumulative(pattern.sparsity, pattern.count, rows, at.begin, columns);
  return keep_mask(scores, {.count = count}, Scope::matrix, Rules::exact, name);
}

}  // namespace

SparseGpt::SparseGpt(Pattern pattern, SparseGptOptions options)
    : pattern_(pattern), options_(std::move(options)) {
  const auto& o = options_;
  check(o.damping >= 0 && o.damping <= 1, kHere,
        "damping is a fraction of the mean diagonal, in [0, 1]. Got ", o.damping, ".");
  check(o.block >= 1, kHere, "block is a number of columns. Got ", o.block, ".");
  check(o.selection == "block" || o.selection == "dense", kHere,
        "selection is block or dense. Got '", o.selection, "'.");
  if (o.grid) check_grid(*o.grid);
  // The scores of a block are known to the sweep alone, so only what a column's factor can say.
  const bool by_column = o.saliency == "obs" || o.saliency == "wanda" || o.saliency == "magnitude";
  check(by_column || o.selection == "dense", kHere,
        "saliency is obs, wanda or magnitude; another criterion needs selection=\"dense\". Got '",
        o.saliency, "'.");
  if (!by_column) criteria().get(o.saliency);
  if (o.on_failure != "error") criteria().get(o.on_failure);
  check(!pattern_.is_n_of_m() || o.rules == Rules::exact || o.block % pattern_.m == 0, kHere,
        "the published n:m rule needs a block that m divides. Got block ", o.block, " for ",
        pattern_.to_string(), ".");
  // Weights of the whole matrix can only be compared before the sweep.
  if (pattern_.scope == Scope::matrix) options_.selection = "dense";
}

Needs SparseGpt::needs() const {
  Needs needs = Needs::gram;
  if (options_.selection == "dense" && options_.saliency != "obs") {
    needs = needs | criteria().get(options_.saliency).needs;
  }
  return needs;
}

std::string SparseGpt::name() const {
  std::string text = "sparsegpt " + pattern_.to_string();
  if (options_.saliency != "obs") text += " by " + options_.saliency;
  if (options_.grid) text += c10::str(" + ", options_.grid->bits, " bit");
  return text;
}

std::string SparseGpt::options_json() const {
  Json json{{"method", "sparsegpt"},
            {"pattern", pattern_.to_string()},
            {"sparsity", pattern_.sparsity},
            {"saliency", options_.saliency},
            {"selection", options_.selection},
            {"damping", options_.damping},
            {"block", options_.block},
            {"rules", to_string(options_.rules)},
            {"on_failure", options_.on_failure}};
  if (options_.grid) json["grid"] = parse_json(grid_json(*options_.grid), "grid");
  return dump_json(json);
}

LayerResult SparseGpt::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  const bool may_fall_back = options_.on_failure != "error";
  const bool empty = task.stats.tokens() == 0;
  check_task(kHere, task, empty && may_fall_back ? Needs::none : needs());
  check(!pattern_.is_n_of_m() || task.weight.size(1) % pattern_.m == 0, "n_of_m",
        "columns must be a multiple of ", pattern_.m, ". Got weight ", task.weight.sizes(), " in ",
        task.name, ".");
  Pattern pattern = pattern_;
  if (task.prune_count >= 0) pattern.count = task.prune_count;
  const SweepSetup setup(task, options_.damping, options_.rules);
  if (!setup.obstacle().empty()) {
    if (!may_fall_back && !setup.all_dead()) {
      throw NumericalError(c10::str("[SparseGpt] a Hessian must be positive definite. In ",
                                    task.name, ": ", setup.obstacle(),
                                    ". Try more calibration text or more damping, or name what to "
                                    "do instead in on_failure."));
    }
    const std::string criterion = may_fall_back ? options_.on_failure : "magnitude";
    LayerResult result = Prune(criterion, pattern).compress(task);
    if (options_.grid) {
      const LayerTask pruned{task.name, result.weight, task.stats, result.mask};
      result = Rtn(*options_.grid).compress(pruned);
    }
    result.notes.push_back(setup.obstacle() + ": pruned by " + criterion + " instead");
    return result;
  }
  const bool published = options_.rules == Rules::published;
  ColumnSweep sweep;
  sweep.block = options_.block;
  sweep.factor = setup.factor();
  sweep.weight = setup.weight();
  if (published) {
    sweep.weight = at::where(setup.dead(), at::zeros_like(sweep.weight), sweep.weight);
  }
  sweep.keep = task.mask;
  std::string compared = "compared by block";
  if (options_.selection == "dense") {
    Scope scope = Scope::matrix;
    torch::Tensor scores;
    if (options_.saliency == "obs") {
      scores = setup.weight().abs() *
               column_importance("obs", setup, task.stats, options_.rules);
    } else {
      const Criterion criterion = criteria().get(options_.saliency);
      scope = criterion.scope;
      scores = criterion.score(task.weight.detach().to(at::kFloat), task.stats);
    }
    const auto mask = keep_mask(spend_pruned_first(scores, task.mask), pattern, scope,
                                options_.rules, task.name);
    sweep.keep = task.mask.defined() ? at::logical_and(mask, task.mask) : mask;
    compared = "compared by " + to_string(pattern.scope == Scope::automatic ? scope : pattern.scope) +
               " before the sweep";
  } else {
    sweep.importance = column_importance(options_.saliency, setup, task.stats, options_.rules);
    if (pattern.is_n_of_m()) {
      check(pattern.count < 0, "n_of_m", "n:m fixes the count; it takes none. Got ", pattern.count,
            " in ", task.name, ".");
      sweep.n = pattern.n;
      sweep.m = pattern.m;
      sweep.lower_first = published;
    } else {
      if (pattern.scope == Scope::row) compared = "compared by row and block";
      sweep.select = [&](const SweepColumns& at) {
        const auto scores = at.weight.abs() * sweep.importance.slice(0, at.begin, at.end);
        const auto keep = task.mask.defined() ? task.mask.slice(1, at.begin, at.end) : task.mask;
        return choose_block(spend_pruned_first(scores, keep), at, sweep.weight.size(1), pattern,
                            options_.rules, task.name);
      };
    }
  }
  if (sweep.keep.defined()) sweep.keep = sweep.keep.contiguous();
  if (options_.grid) {
    const bool fixed = options_.grid->group == 0;
    auto fitted = setup.weight();
    if (task.mask.defined()) fitted = at::where(task.mask, fitted, at::zeros_like(fitted));
    sweep.grid = setup.grid(*options_.grid, options_.rules, fixed, fitted, sweep.keep);
  }
  LayerResult result =
      setup.finish(task, options_.grid ? &*options_.grid : nullptr, column_sweep(sweep), true);
  if (!pattern.is_n_of_m()) result.notes.push_back(compared);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
