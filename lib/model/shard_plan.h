#pragma once

#include <map>
#include <string>
#include <vector>

#include "cupel/checkpoint/safetensors.h"
#include "cupel/model/model.h"

namespace cupel {

/// The file of a checkpoint that is not sharded.
inline constexpr const char* kSingle = "model.safetensors";

/// Shard file name -> its tensors, under the names and with the shapes that they have unpacked.
using ShardPlan = std::map<std::string, std::vector<TensorInfo>>;

/// As the model's source has them (a packed weight stands where its codes are), with whatever else
/// the source holds; one file for a model made in memory.
ShardPlan plan_shards(const Model& model);

/// Whatever may come of the tensors `infos`, packed or not, at its largest; by name, so that the
/// room kept for it does not depend on the order in which a source has them.
std::vector<TensorInfo> possible_tensors(std::vector<TensorInfo> infos);

}  // namespace cupel
