#include "cupel/compress/chain.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "core/json.h"
#include "cupel/core/check.h"

namespace cupel {

Chain::Chain(std::vector<std::shared_ptr<const Compressor>> steps) : steps_(std::move(steps)) {
  check(!steps_.empty(), "Chain", "there is at least one step.");
  for (const auto& step : steps_) check(step != nullptr, "Chain", "a step must not be null.");
}

Needs Chain::needs() const {
  Needs needs = Needs::none;
  for (const auto& step : steps_) needs = needs | step->needs();
  return needs;
}

std::string Chain::name() const {
  std::string text;
  for (const auto& step : steps_) text += (text.empty() ? "" : ", ") + step->name();
  return text;
}

std::string Chain::options_json() const {
  Json json{{"method", "chain"}, {"steps", Json::array()}};
  for (const auto& step : steps_) {
    json["steps"].push_back(parse_json(step->options_json(), "options_json"));
  }
  return dump_json(json);
}

LayerResult Chain::compress(const LayerTask& task) const {
  const at::NoGradGuard no_grad;
  LayerTask next = task;
  next.measure_loss = false;  // what counts is the last weight against the first
  LayerResult result;
  std::vector<std::string> rungs, notes;
  double seconds = 0;
  for (const auto& step : steps_) {
    result = step->compress(next);
    const auto told = [&](const std::string& text) { return step->name() + ": " + text; };
    check(result.weight.defined() && result.weight.sizes() == task.weight.sizes(), "Chain",
          "a step returns a weight of the same shape, ", step->name(), " did not in ", task.name,
          ".");
    if (next.mask.defined()) {
      const auto pruned = result.weight.masked_select(next.mask.logical_not());
      check(!pruned.any().item<bool>(), "Chain", "what is pruned stays zero, ", step->name(),
            " brought weights back in ", task.name, ".");
      if (!result.mask.defined()) result.mask = next.mask;
    }
    for (const auto& rung : result.rungs) rungs.push_back(told(rung));
    for (const auto& note : result.notes) notes.push_back(told(note));
    if (result.sweep_loss && steps_.size() > 1) {
      notes.push_back(told(c10::str("sweep loss ", *result.sweep_loss)));
      result.sweep_loss.reset();  // that of one step is not that of the chain
    }
    seconds += result.seconds;
    next.weight = result.weight;
    next.mask = result.mask;
    next.prune_count = -1;
  }
  const int64_t packed = result.packed_bytes;  // knows its grid, as finish_result() does not
  finish_result(task, result);
  if (result.bits > 0) result.packed_bytes = packed;
  result.rungs = rungs;
  result.notes = notes;
  result.seconds = seconds;
  return result;
}

}  // namespace cupel
