#include "checkpoint/shard_index.h"

#include <cmath>
#include <string_view>

#include "core/json.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

/// A shard must be a file of the folder itself: an index from elsewhere must not choose a path.
bool is_plain_shard_name(const std::string& name) {
  using namespace std::literals;
  constexpr std::string_view suffix = ".safetensors";
  return name.size() > suffix.size() && name.ends_with(suffix) &&
         name.find_first_of("/\\\0"sv) == std::string::npos && name.find("..") == std::string::npos;
}

uint64_t parse_total_size(const Json& value, const std::string& path) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_float()) {  // some published indices say 123.0
    const double size = value.get<double>();
    if (size >= 0 && size < 0x1p63 && size == std::floor(size)) return static_cast<uint64_t>(size);
  }
  throw FormatError(path, "metadata.total_size",
                    "must be a non-negative integer. Got " + printable(dump_json(value), 60) + ".");
}

}  // namespace

std::string list_names(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 10;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < shown; ++i)
    text += (i == 0 ? "" : ", ") + printable(names[i], 100);
  if (names.size() > shown) text += c10::str(" and ", names.size() - shown, " more");
  return text;
}

ShardIndex read_shard_index(const std::string& path) {
  const Json json = read_json(path);
  ShardIndex index;
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty())
    throw FormatError(path, "weight_map", "must be an object of tensor names and shard files.");
  for (const auto& [name, shard] : map->get_ref<const Json::object_t&>()) {
    const std::string where = "weight_map \"" + printable(name, 120) + "\"";
    if (name.empty()) throw FormatError(path, where, "a tensor name must not be empty.");
    if (!shard.is_string()) throw FormatError(path, where, "a shard must be a string.");
    const auto& file = shard.get_ref<const std::string&>();
    if (!is_plain_shard_name(file)) {
      throw FormatError(path, where,
                        "a shard must be a plain file name ending in .safetensors, without a path. "
                        "Got \"" +
                            printable(file, 120) + "\".");
    }
    index.shard_of_tensor.emplace(name, file);
  }
  if (const auto metadata = json.find("metadata"); metadata != json.end()) {
    if (!metadata->is_object()) throw FormatError(path, "metadata", "must be an object.");
    const auto size = metadata->find("total_size");
    if (size != metadata->end()) index.total_size = parse_total_size(*size, path);
  }
  return index;
}

void write_index(const std::string& dir, const std::map<std::string, std::string>& shard_of_tensor,
                 uint64_t total_size) {
  Json map = Json::object();
  auto& entries = map.get_ref<Json::object_t&>();
  for (const auto& [name, shard] : shard_of_tensor) {
    check(is_plain_shard_name(shard), "write_index",
          "a shard must be a plain file name ending in .safetensors. Got '", printable(shard, 120),
          "' for ", printable(name, 120), ".");
    entries.emplace_back(name, shard);  // names come sorted and unique; a search would be linear
  }
  Json index = Json::object();
  index["metadata"] = {{"total_size", total_size}};
  index["weight_map"] = std::move(map);
  write_file(dir + "/model.safetensors.index.json", dump_json(index, 2) + "\n");
}

}  // namespace cupel
