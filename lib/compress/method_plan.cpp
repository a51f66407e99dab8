#include "compress/method_plan.h"

#include <set>

#include "compress/dense_pass.h"
#include "cupel/compress/layer_names.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

MethodPlan::MethodPlan(const std::vector<std::string>& names, const Compressor& compressor,
                       const CompressOptions& options)
    : names_(names), options_(options) {
  const auto only = options.only.empty() ? names : select_layers("only", options.only, names);
  for (const auto& name : only) methods_[name] = &compressor;
  for (const auto& name : select_layers("skip", options.skip, names)) methods_.erase(name);
  // From the last to the first, so that the first that matches has the last word.
  for (auto each = options.overrides.rbegin(); each != options.overrides.rend(); ++each) {
    for (const auto& name : select_layers("overrides", {each->first}, names)) {
      const auto method = methods_.find(name);
      if (method != methods_.end()) method->second = each->second.get();
    }
  }
  std::erase_if(methods_, [](const auto& method) { return method.second == nullptr; });
  check(!methods_.empty(), "compress", "no linear layer is left after skip, only and overrides.");
}

void MethodPlan::allocate_counts(const Model& model, const Calibration& calibration,
                                 const std::function<void()>& on_batch) {
  if (!options_.allocation) return;
  const Allocation& allocation = *options_.allocation;
  if (allocation.needs_text && calibration.samples.empty()) {
    throw NumericalError("[compress] allocation '" + allocation.name +
                         "' needs calibration text. Got 0 tokens; give a Calibration.");
  }
  std::set<std::string> chosen;
  for (const auto& [name, method] : methods_) chosen.insert(name);
  const auto input = allocation_input(model, calibration, chosen, on_batch);
  const auto counts = allocate(allocation, input);
  for (std::size_t i = 0; i < counts.size(); ++i) counts_[input.layers[i].name] = counts[i];
}

int64_t MethodPlan::count(const std::string& name) const {
  const auto count = counts_.find(name);
  return count == counts_.end() ? -1 : count->second;
}

Needs MethodPlan::needs() const {
  Needs needs = Needs::none;
  for (const auto& [name, method] : methods_) needs = needs | method->needs();
  return needs;
}

std::vector<LayerPlan> MethodPlan::layers() const {
  std::vector<LayerPlan> plan;
  for (const auto& name : names_) {
    if (contains(name)) plan.push_back({name, method(name).name(), count(name)});
  }
  return plan;
}

std::vector<std::string> MethodPlan::left_alone() const {
  std::vector<std::string> left;
  for (const auto& name : names_) {
    if (!contains(name)) left.push_back(name);
  }
  return left;
}

}  // namespace cupel
