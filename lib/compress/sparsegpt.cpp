#include "cupel/compress/sparsegpt.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>

#include "compress/grid_result.h"
#include "compress/sparsegpt_selection.h"
#include "compress/sweep_setup.h"
#include "core/json.h"
#include "cupel/compress/criterion.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

const char* const kHere = "SparseGpt";

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

LayerResult SparseGpt::fall_back(const LayerTask& task, const Pattern& pattern,
                                 const std::string& obstacle) const {
  const std::string criterion = options_.on_failure == "error" ? "magnitude" : options_.on_failure;
  LayerResult result = Prune(criterion, pattern).compress(task);
  if (options_.grid) {
    LayerTask pruned{task.name, result.weight, task.stats, result.mask};
    pruned.measure_loss = false;
    result = Rtn(without_inputs(*options_.grid)).compress(pruned);
    finish_result(task, result);  // against the weight before both
    count_packed(*options_.grid, result);
  }
  result.notes.push_back(obstacle + ": pruned by " + criterion + " instead");
  return result;
}

LayerResult SparseGpt::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  const bool may_fall_back = options_.on_failure != "error";
  const bool empty = task.stats.tokens() == 0;
  const double largest = check_task(kHere, task, empty && may_fall_back ? Needs::none : needs());
  check(!pattern_.is_n_of_m() || task.weight.size(1) % pattern_.m == 0, "n_of_m",
        "columns must be a multiple of ", pattern_.m, ". Got weight ", task.weight.sizes(), " in ",
        task.name, ".");
  Pattern pattern = pattern_;
  if (task.prune_count >= 0) pattern.count = task.prune_count;
  const SweepSetup setup(task, largest, options_.damping, options_.rules);
  if (setup.must_fall_back(kHere, may_fall_back)) return fall_back(task, pattern, setup.obstacle());
  ColumnSweep sweep;
  sweep.block = options_.block;
  sweep.factor = setup.factor();
  sweep.inverses = setup.inverses();
  sweep.weight = setup.weight();
  if (options_.rules == Rules::published) {
    sweep.weight = at::where(setup.dead(), at::zeros_like(sweep.weight), sweep.weight);
  }
  const std::string compared = select_weights(pattern, options_, task, setup, sweep);
  if (options_.grid) {
    const bool fixed = options_.grid->group == 0;
    auto fitted = setup.weight();
    if (task.mask.defined()) fitted = at::where(task.mask, fitted, at::zeros_like(fitted));
    sweep.grid = setup.grid(*options_.grid, options_.rules, fixed, fitted, sweep.keep);
  }
  const SweepResult swept = column_sweep(sweep);
  LayerResult result =
      setup.finish(task, options_.grid ? &*options_.grid : nullptr, swept, swept.mask);
  if (!compared.empty()) result.notes.push_back(compared);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
