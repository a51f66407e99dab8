#include "model/shard_plan.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "model/packed_linears.h"

namespace cupel {

namespace {

constexpr const char* kParts[] = {"_packed", "_scale", "_zero_point", "_shape"};

/// The model's name of a tensor that the source stores, and false when another of the source's
/// tensors stands for it: of the parts of a packed weight, "_packed" does.
std::pair<std::string, bool> dense_name(const std::string& stored,
                                        const std::map<std::string, std::vector<int64_t>>& shapes) {
  for (const char* part : kParts) {
    if (!stored.ends_with(part)) continue;
    const std::string name = stored.substr(0, stored.size() - std::string_view(part).size());
    if (shapes.count(name)) return {name, part == kParts[0]};
  }
  return {stored, true};
}

}  // namespace

ShardPlan plan_shards(const Model& model) {
  const auto source = model.source();
  const auto shapes = model.tensor_shapes();
  ShardPlan plan;
  if (!source) {
    for (const auto& [name, shape] : shapes) {
      plan[kSingle].push_back({name, model.dtype(), shape});
    }
    return plan;
  }
  for (const auto& shard : source->shard_names()) {
    for (const auto& stored : source->names_in_shard(shard)) {
      const auto [name, is_main] = dense_name(stored, shapes);
      const auto own = shapes.find(name);
      const TensorInfo& info = source->info(stored);
      if (own == shapes.end())
        plan[shard].push_back({name, info.dtype, info.shape});
      else if (is_main)
        plan[shard].push_back({name, model.dtype(), own->second});
    }
  }
  return plan;
}

std::vector<TensorInfo> possible_tensors(std::vector<TensorInfo> infos) {
  std::sort(infos.begin(), infos.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  const PackScheme largest{.bits = 8, .group = 1, .symmetric = false};
  std::vector<TensorInfo> tensors;
  for (const auto& info : infos) {
    tensors.push_back(info);
    if (!info.name.ends_with(".weight") || info.shape.size() != 2) continue;
    for (auto& part :
         packed_tensors(largest, layer_of(info.name), info.shape[0], info.shape[1], info.dtype)) {
      tensors.push_back(std::move(part));
    }
  }
  return tensors;
}

}  // namespace cupel
