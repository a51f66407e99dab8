#include "cupel/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "checkpoint/shard_index.h"
#include "checkpoint/weight_names.h"
#include "core/download_artefact.h"
#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kConfig = "config.json";
constexpr uint64_t kMaxConfigBytes = 100'000'000;

std::string join(const std::string& dir, const std::string& name) {
  return (fs::path(dir) / name).string();
}

/// True also for a link that leads nowhere: it was meant to be there, and opening it says so.
bool present(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() > fs::file_type::not_found;
}

std::vector<std::string> weight_files(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (is_weight_file(name) && name.find(".index.json") == std::string::npos)
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

[[noreturn]] void fail_without_weights(const std::string& dir) {
  const auto found = weight_files(dir);
  if (found.empty())
    throw FormatError(dir, "", c10::str("the folder has neither ", kSingle, " nor ", kIndex, "."));
  const bool shards = std::any_of(found.begin(), found.end(), [](const std::string& name) {
    return std::string_view(name).ends_with(".safetensors");
  });
  if (shards) {
    throw FormatError(
        dir, "",
        c10::str("the folder has .safetensors files but neither ", kSingle,
                 " nor the index that names them, ", kIndex, ". Found ", list_names(found), "."));
  }
  throw FormatError(dir, "",
                    c10::str("only safetensors weights are read, since other formats can ",
                             "run code or lose names. Found ", list_names(found),
                             ". To convert: load the model in transformers and ",
                             "save_pretrained(..., safe_serialization=True)."));
}

void check_folder(const std::string& dir) {
  std::error_code error;
  const auto status = fs::status(dir, error);
  if (status.type() == fs::file_type::not_found) {
    throw FormatError(dir, "",
                      "the folder does not exist; a local folder with config.json and "
                      "model.safetensors is needed (nothing is downloaded).");
  }
  if (error) throw FormatError(dir, "", "cannot be opened: " + error.message() + ".");
  if (!fs::is_directory(status)) {
    throw FormatError(dir, "",
                      "is not a folder; the folder that holds config.json and "
                      "model.safetensors is needed.");
  }
  if (!present(join(dir, kConfig))) throw FormatError(dir, "", "the folder has no config.json.");
}

std::string read_config(const std::string& path) {
  const std::string text = read_file(path, kMaxConfigBytes);
  const auto artefact = download_artefact(std::string_view(text).substr(0, kArtefactBytes));
  if (!artefact.empty()) throw FormatError(path, "", artefact);
  parse_json(text, path);
  return text;
}

/// Throws when `names` holds any; `text` ends in what they are.
void refuse(const std::string& path, const char* text, const std::vector<std::string>& names) {
  if (!names.empty())
    throw FormatError(path, "", c10::str(names.size(), " ", text, ": ", list_names(names), "."));
}

/// Index and shards must name the same tensors, each once and where the index says.
void check_index(const std::string& path, const ShardIndex& index,
                 const std::vector<std::string>& shard_names,
                 const std::vector<std::shared_ptr<SafetensorsFile>>& shards) {
  std::map<std::string, std::size_t> held_by;
  std::vector<std::string> extra, twice, elsewhere, missing;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const TensorInfo& tensor : shards[i]->tensors()) {
      const auto [first, added] = held_by.emplace(tensor.name, i);
      const std::string in = " in " + shard_names[i];
      const auto entry = index.shard_of_tensor.find(tensor.name);
      if (!added)
        twice.push_back(tensor.name + " in " + shard_names[first->second] + " and" + in);
      else if (entry == index.shard_of_tensor.end())
        extra.push_back(tensor.name + in);
      else if (entry->second != shard_names[i])
        elsewhere.push_back(tensor.name + in + " instead of " + entry->second);
    }
  }
  for (const auto& [name, shard] : index.shard_of_tensor) {
    if (held_by.count(name) == 0) missing.push_back(name + " in " + shard);
  }
  refuse(path, "tensors are in two shards", twice);
  refuse(path, "tensors are missing from the shards that the index names", missing);
  refuse(path, "tensors are in another shard than the index says", elsewhere);
  refuse(path, "extra tensors in the shards that the index does not name", extra);
}

}  // namespace

CheckpointReader::CheckpointReader(const std::string& dir) : dir_(dir) {
  check_folder(dir);
  config_text_ = read_config(join(dir, kConfig));
  const std::string index_path = join(dir, kIndex);
  ShardIndex index;
  const bool single = present(join(dir, kSingle));  // wins over an index, as in transformers
  if (single) {
    shard_names_ = {kSingle};
  } else {
    if (!present(index_path)) fail_without_weights(dir);
    index = read_shard_index(index_path);
    std::set<std::string> names;
    for (const auto& [tensor, shard] : index.shard_of_tensor) names.insert(shard);
    shard_names_.assign(names.begin(), names.end());
    std::vector<std::string> missing;
    for (const auto& name : shard_names_) {
      if (!present(join(dir, name))) missing.push_back(name);
    }
    refuse(index_path, "missing shard files that the index names", missing);
  }
  for (const auto& name : shard_names_)
    shards_.push_back(std::make_shared<SafetensorsFile>(join(dir, name)));
  if (!single) check_index(index_path, index, shard_names_, shards_);
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    for (const TensorInfo& tensor : shards_[i]->tensors()) shard_of_.emplace(tensor.name, i);
  }
  if (index.total_size && *index.total_size != bytes()) {
    throw FormatError(
        index_path, "metadata.total_size",
        c10::str("must be the bytes of all tensors, ", bytes(), ". Got ", *index.total_size, "."));
  }
}

std::vector<std::string> CheckpointReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, shard] : shard_of_) names.push_back(name);
  return names;
}

const TensorInfo& CheckpointReader::info(const std::string& name) const {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end())
    throw FormatError(dir_, "", "the checkpoint has no tensor \"" + printable(name, 120) + "\".");
  return shards_[found->second]->info(name);
}

torch::Tensor CheckpointReader::read(const std::string& name) const {
  info(name);  // the error for an unknown name
  return shards_[shard_of_.at(name)]->read(name);
}

uint64_t CheckpointReader::bytes() const {
  uint64_t total = 0;  // each shard is a file, so the sum cannot overflow
  for (const auto& shard : shards_) {
    for (const TensorInfo& tensor : shard->tensors()) total += tensor.end - tensor.begin;
  }
  return total;
}

std::vector<std::string> CheckpointReader::names_in_shard(const std::string& shard) const {
  const auto found = std::find(shard_names_.begin(), shard_names_.end(), shard);
  check(found != shard_names_.end(), "names_in_shard", "the checkpoint has the shards ",
        list_names(shard_names_), ". Got '", printable(shard, 120), "'.");
  std::vector<std::string> names;
  for (const TensorInfo& tensor : shards_[found - shard_names_.begin()]->tensors())
    names.push_back(tensor.name);
  return names;
}

const std::map<std::string, std::string>& CheckpointReader::metadata_of_shard(
    const std::string& shard) const {
  const auto found = std::find(shard_names_.begin(), shard_names_.end(), shard);
  check(found != shard_names_.end(), "metadata_of_shard", "the checkpoint has the shards ",
        list_names(shard_names_), ". Got '", printable(shard, 120), "'.");
  return shards_[found - shard_names_.begin()]->metadata();
}

}  // namespace cupel
