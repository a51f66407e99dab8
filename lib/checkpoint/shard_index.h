#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cupel {

/// model.safetensors.index.json, checked.
struct ShardIndex {
  std::map<std::string, std::string> shard_of_tensor;
  std::optional<uint64_t> total_size;
};

/// Reads an index; FormatError unless every shard is a plain file name ending in .safetensors.
ShardIndex read_shard_index(const std::string& path);

/// "a, b, c and 7 more": at most ten names, each safe to print.
std::string list_names(const std::vector<std::string>& names);

}  // namespace cupel
