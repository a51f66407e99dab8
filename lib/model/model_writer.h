#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/pack_quantized.h"
#include "cupel/checkpoint/safetensors.h"
#include "cupel/model/model.h"
#include "model/shard_plan.h"

namespace cupel {

/// std::invalid_argument unless `options` are such as a model can be saved with.
void check_save_options(const SaveOptions& options);

/// Writes a model folder tensor by tensor. Nothing is visible under its name before finish(), and
/// without finish() nothing is left.
class ModelWriter {
 public:
  /// Plans the shards as the model's source has them. std::invalid_argument when `dir` holds weight
  /// files that this model would not replace, or lacks the room.
  ModelWriter(const Model& model, const std::string& dir, const SaveOptions& options = {});
  ~ModelWriter();
  ModelWriter(const ModelWriter&) = delete;
  ModelWriter& operator=(const ModelWriter&) = delete;

  /// Writes a tensor as it is.
  void write(const std::string& name, const torch::Tensor& tensor);
  /// Writes the tensors of a block in the format asked for: a packed linear goes to the shard of its
  /// weight. std::invalid_argument for one that cannot be packed without loss.
  void write_block(Block& block);
  /// Copies what the source holds besides the model's own tensors, then makes weights, index,
  /// companion files, config.json and cupel.json (with `record`, a JSON array or "") visible.
  void finish(const std::string& record);

 private:
  void open_shards(const ShardPlan& plan);
  void remove_unfinished();
  void check_folder() const;
  void write_to(const std::string& shard, const std::string& name, const torch::Tensor& tensor);
  std::string config_text() const;
  std::string provenance(const std::string& record) const;

  const Model& model_;
  std::string dir_;
  std::string format_;
  bool made_dir_ = false, finished_ = false;
  std::map<std::string, std::string> shard_of_;  // tensor of the model or its source -> shard
  std::set<std::string> pending_;                // those of them that are to be written yet
  std::map<std::string, SafetensorsWriter> shards_;
  std::map<std::string, std::string> index_;   // tensor as written -> shard
  std::map<std::string, std::string> hashes_;  // tensor as written -> SHA-256
  uint64_t total_bytes_ = 0;                   // written
  // Of a packed model: layers by scheme, and linear layers that stay dense.
  std::map<PackScheme, std::vector<std::string>> packed_;
  std::vector<std::string> dense_linears_;
};

}  // namespace cupel
