#include "cupel/compress/gptq.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>

#include "compress/grid_result.h"
#include "compress/sweep_setup.h"
#include "core/json.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/check.h"

namespace cupel {

Gptq::Gptq(Grid grid, GptqOptions options) : grid_(std::move(grid)), options_(std::move(options)) {
  check_grid(grid_);
  check(options_.damping >= 0 && options_.damping <= 1, "Gptq",
        "damping is a fraction of the mean diagonal, in [0, 1]. Got ", options_.damping, ".");
  check(options_.block >= 1, "Gptq", "block is a number of columns. Got ", options_.block, ".");
  check(options_.order == "none" || options_.order == "activation", "Gptq",
        "order is none or activation. Got '", options_.order, "'.");
  check(options_.on_failure == "error" || options_.on_failure == "rtn", "Gptq",
        "on_failure is error or rtn. Got '", options_.on_failure, "'.");
}

std::string Gptq::name() const {
  std::string text = c10::str("gptq ", grid_.bits, " bit");
  if (grid_.group > 0) text += c10::str(" group ", grid_.group);
  if (options_.order != "none") text += " act-order";
  return text;
}

std::string Gptq::options_json() const {
  Json json{{"method", "gptq"}};
  json.update(parse_json(grid_json(grid_), "grid"));
  json.update({{"damping", options_.damping},
               {"block", options_.block},
               {"order", options_.order},
               {"static_groups", options_.static_groups},
               {"rules", to_string(options_.rules)},
               {"on_failure", options_.on_failure}});
  return dump_json(json);
}

LayerResult Gptq::compress(const LayerTask& task) const {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  const bool may_fall_back = options_.on_failure == "rtn";
  const bool empty = task.stats.tokens() == 0;
  const double largest =
      check_task("Gptq", task, empty && may_fall_back ? Needs::none : Needs::gram);
  const SweepSetup setup(task, largest, options_.damping, options_.rules,
                         options_.order == "activation");
  if (setup.must_fall_back("Gptq", may_fall_back)) {
    const Grid plain = without_inputs(grid_);
    LayerResult result = Rtn(plain, {.rules = options_.rules}).compress(task);
    result.notes.push_back(setup.obstacle() + ": rounded to nearest (" + plain.clip + ") instead");
    return result;
  }
  const bool published = options_.rules == Rules::published;
  ColumnSweep sweep;
  sweep.block = options_.block;
  sweep.factor = setup.factor();
  sweep.inverses = setup.inverses();
  // Weights that no input ever reaches become zero: they must not widen anybody's grid.
  auto keep = task.mask;
  auto weight = setup.weight();
  const auto alive = setup.dead().logical_not();
  const bool any_dead = setup.dead().any().item<bool>();
  const auto alive_weight = any_dead ? at::where(alive, weight, at::zeros_like(weight)) : weight;
  if (published) {
    weight = alive_weight;
  } else if (any_dead) {
    keep = keep.defined() ? at::logical_and(keep, alive) : alive.expand_as(weight).contiguous();
  }
  sweep.weight = setup.in_order(weight);
  sweep.keep = setup.in_order(keep);
  const bool fixed = options_.static_groups || grid_.group == 0;
  // The published code fits a whole row before it looks for dead columns.
  auto fitted = published && grid_.group == 0 ? setup.weight() : alive_weight;
  if (task.mask.defined()) fitted = at::where(task.mask, fitted, at::zeros_like(fitted));
  sweep.grid = setup.grid(grid_, options_.rules, fixed, fitted, sweep.keep);
  LayerResult result = setup.finish(task, &grid_, column_sweep(sweep), task.mask);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
