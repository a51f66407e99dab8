#include "compress/dense_pass.h"

#include "cupel/calibration/collect.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

// Runs the calibration text through the dense model once, a block at a time.
void visit_layers(const Model& model, const Calibration& calibration,
                  const std::set<std::string>& chosen, const std::function<void()>& on_batch,
                  Needs needs, const AllocationInput::Visit& visit) {
  const at::NoGradGuard no_grad;
  CalibrationStream stream(model, needs == Needs::none ? Calibration() : calibration);
  check(needs == Needs::none || !stream.empty(), "allocation",
        "statistics of the inputs need calibration text.");
  stream.on_batch = on_batch;
  for (int64_t index = 0; index < model.layers(); ++index) {
    const auto block = model.block(index);
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      std::vector<NamedLinear> linears;
      for (const auto& linear : block->linears(stage)) {
        if (chosen.count(linear.name)) linears.push_back(linear);
      }
      if (!linears.empty()) {
        const int64_t columns = linears.front().linear->weight().size(1);
        const InputStats stats =
            needs == Needs::none
                ? InputStats(columns, needs)
                : stream.collect(*block, stage, needs, linears.front().name, columns);
        for (const auto& [name, linear] : linears) {
          const auto& weight = linear->weight();
          visit({name, index, weight.size(0), weight.size(1)}, weight, stats);
        }
      }
      stream.apply(*block, stage);
    }
  }
}

}  // namespace

AllocationInput allocation_input(const Model& model, const Calibration& calibration,
                                 const std::set<std::string>& chosen,
                                 const std::function<void()>& on_batch) {
  AllocationInput input;
  const auto shapes = model.tensor_shapes();
  for (const auto& [name, block] : model.linear_blocks()) {
    if (!chosen.count(name)) continue;
    const auto& shape = shapes.at(name + ".weight");
    input.layers.push_back({name, block, shape[0], shape[1]});
  }
  input.for_each = [&model, &calibration, chosen, on_batch](Needs needs,
                                                            const AllocationInput::Visit& visit) {
    visit_layers(model, calibration, chosen, on_batch, needs, visit);
  };
  return input;
}

}  // namespace cupel
