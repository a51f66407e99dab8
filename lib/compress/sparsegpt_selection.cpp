#include "compress/sparsegpt_selection.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <limits>

#include "cupel/compress/criterion.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

// What a weight's absolute value is multiplied with, [in] float32.
torch::Tensor column_importance(const SparseGptOptions& options, const InputStats& stats,
                                const SweepSetup& setup) {
  const auto& weight = setup.weight();
  if (options.saliency == "magnitude") return at::ones({weight.size(1)}, weight.options());
  if (options.saliency == "wanda") return stats.sq_norm().sqrt().to(weight.device());
  const auto diagonal = setup.factor().diagonal().to(at::kFloat);  // R_ii = 1 / U_ii
  if (options.rules == Rules::published) return diagonal.contiguous();
  // An input that was always zero is worth nothing, whatever the damping adds.
  return at::where(setup.dead(), at::zeros_like(diagonal), diagonal);
}

// What an earlier mask prunes is spent first.
torch::Tensor spend(const torch::Tensor& scores, const torch::Tensor& keep) {
  if (!keep.defined()) return scores;
  return at::where(keep, scores, -std::numeric_limits<double>::infinity());
}

// How many of the weights in the first `columns` of `all` columns go: cumulative, so that the last
// block makes the total exact.
int64_t cumulative(double sparsity, int64_t count, int64_t rows, int64_t columns, int64_t all) {
  if (count >= 0) return count * columns / all;
  return static_cast<int64_t>(sparsity * static_cast<double>(rows * columns));
}

// The mask of one block of columns, by scores [out, columns].
torch::Tensor choose_block(const torch::Tensor& scores, const SweepColumns& at, int64_t all,
                           const Pattern& pattern, Rules rules, const std::string& name) {
  const int64_t rows = scores.size(0);
  const auto in_block = [&](int64_t count, int64_t of_rows) {
    return cumulative(pattern.sparsity, count, of_rows, at.end, all) -
           cumulative(pattern.sparsity, count, of_rows, at.begin, all);
  };
  if (pattern.scope == Scope::row) {
    std::vector<int64_t> counts(rows, -1);
    if (pattern.count >= 0) counts = split_among_rows(pattern.count, rows);
    for (auto& count : counts) count = in_block(count, 1);
    return keep_all_but(scores, counts, false, name);
  }
  if (rules == Rules::published && pattern.count < 0) {
    // Squared, as published: there the squares decide ties.
    return keep_mask(scores.square(), {.sparsity = pattern.sparsity}, Scope::matrix, rules, name);
  }
  return keep_mask(scores, {.count = in_block(pattern.count, rows)}, Scope::matrix, Rules::exact,
                   name);
}

std::string select_beforehand(const Pattern& pattern, const SparseGptOptions& options,
                              const LayerTask& task, const SweepSetup& setup, ColumnSweep& sweep) {
  Scope scope = Scope::matrix;
  torch::Tensor scores;
  if (options.saliency == "obs") {
    scores = setup.weight().abs() * column_importance(options, task.stats, setup);
  } else {
    const Criterion criterion = criteria().get(options.saliency);
    scope = criterion.scope;
    scores = criterion.score(task.weight.detach().to(at::kFloat), task.stats);
  }
  const auto mask = keep_mask(spend(scores, task.mask), pattern, scope, options.rules, task.name);
  sweep.keep = task.mask.defined() ? at::logical_and(mask, task.mask) : mask;
  if (pattern.is_n_of_m()) return "";
  if (pattern.scope != Scope::automatic) scope = pattern.scope;
  return "compared by " + to_string(scope) + " before the sweep";
}

}  // namespace

std::string select_weights(const Pattern& pattern, const SparseGptOptions& options,
                           const LayerTask& task, const SweepSetup& setup, ColumnSweep& sweep) {
  check(!pattern.is_n_of_m() || pattern.count < 0, "n_of_m",
        "n:m fixes the count; it takes none. Got ", pattern.count, " in ", task.name, ".");
  sweep.keep = task.mask;
  if (options.selection == "dense") {
    return select_beforehand(pattern, options, task, setup, sweep);
  }
  sweep.importance = column_importance(options, task.stats, setup);
  if (pattern.is_n_of_m()) {
    sweep.n = pattern.n;
    sweep.m = pattern.m;
    sweep.lower_first = options.rules == Rules::published;
    return "";
  }
  // The published rule compares squares, and rows by themselves are another matter.
  const bool by_block =
      pattern.scope != Scope::row && (options.rules == Rules::exact || pattern.count >= 0);
  if (by_block && sweep.weight.is_cpu()) {
    sweep.name = task.name;
    sweep.count = [&pattern, rows = sweep.weight.size(0), all = sweep.weight.size(1)](int64_t begin,
                                                                                      int64_t end) {
      const auto up_to = [&](int64_t columns) {
        return cumulative(pattern.sparsity, pattern.count, rows, columns, all);
      };
      return up_to(end) - up_to(begin);
    };
    return "compared by block";
  }
  sweep.select = [&pattern, &options, &task,
                  importance = sweep.importance](const SweepColumns& at) {
    const auto scores = at.weight.abs().mul_(importance.slice(0, at.begin, at.end));
    const auto keep = task.mask.defined() ? task.mask.slice(1, at.begin, at.end) : task.mask;
    return choose_block(spend(scores, keep), at, importance.size(0), pattern, options.rules,
                        task.name);
  };
  return pattern.scope == Scope::row ? "compared by row and block" : "compared by block";
}

}  // namespace cupel
