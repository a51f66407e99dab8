#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cupel/checkpoint/safetensors.h"

namespace cupel {

/// A Hugging Face model folder: config.json plus model.safetensors, or shards listed by
/// model.safetensors.index.json.
///
/// Opening checks everything that can be checked without the weights themselves: the index (plain
/// file names ending in .safetensors only, no duplicate key), every shard's header, and that index
/// and shards name the same tensors, each once. Throws FormatError; a folder with only .bin or .pt
/// weights, a git-lfs pointer and a web page are named as such, with what to do.
class CheckpointReader {
 public:
  explicit CheckpointReader(const std::string& dir);

  const std::string& dir() const { return dir_; }
  const std::string& config_text() const { return config_text_; }  ///< config.json as it stands
  std::vector<std::string> names() const;                          ///< sorted
  bool contains(const std::string& name) const { return shard_of_.count(name) > 0; }
  const TensorInfo& info(const std::string& name) const;  ///< FormatError when absent
  torch::Tensor read(const std::string& name) const;      ///< new CPU memory
  uint64_t bytes() const;                                 ///< of all tensors

  /// Shard file names in order; one "model.safetensors" for an unsharded checkpoint.
  const std::vector<std::string>& shard_names() const { return shard_names_; }
  /// Tensor names of a shard, in file order.
  std::vector<std::string> names_in_shard(const std::string& shard) const;
  /// "__metadata__" of a shard.
  const std::map<std::string, std::string>& metadata_of_shard(const std::string& shard) const;

 private:
  std::string dir_, config_text_;
  std::vector<std::string> shard_names_;
  std::map<std::string, std::size_t> shard_of_;  // tensor name -> position in shards_
  std::vector<std::shared_ptr<SafetensorsFile>> shards_;
};

/// Copies every file of `from` that holds no weights (tokenizer, generation_config, chat template,
/// licence ...) to `to`; not the weight files or their index, not names in `except`, not
/// folders. Each copy is atomic. Does nothing when both are the same folder.
void copy_companion_files(const std::string& from, const std::string& to,
                          const std::vector<std::string>& except = {});

/// Writes model.safetensors.index.json for the given shards (file name -> its tensors) atomically.
void write_index(const std::string& dir, const std::map<std::string, std::string>& shard_of_tensor,
                 uint64_t total_size);

}  // namespace cupel
