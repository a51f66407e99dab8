#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cupel/checkpoint/safetensors.h"
#include "cupel/model/model.h"

namespace cupel {

/// Writes a model folder tensor by tensor. Nothing is visible under its name before finish(), and
/// without finish() nothing is left.
class ModelWriter {
 public:
  /// Plans the shards as the model's source has them. std::invalid_argument when `dir` holds weight
  /// files that this model would not replace, or lacks the room.
  ModelWriter(const Model& model, const std::string& dir);
  ~ModelWriter();
  ModelWriter(const ModelWriter&) = delete;
  ModelWriter& operator=(const ModelWriter&) = delete;

  void write(const std::string& name, const torch::Tensor& tensor);
  /// Copies what the source holds besides the model's own tensors, then makes weights, index,
  /// companion files, config.json and cupel.json (with `record`, a JSON array or "") visible.
  void finish(const std::string& record);

 private:
  void check_folder() const;
  std::string config_text() const;
  std::string provenance(const std::string& record) const;

  const Model& model_;
  std::string dir_;
  bool made_dir_ = false, finished_ = false;
  std::map<std::string, std::string> shard_of_;   // tensor -> shard file name
  std::map<std::string, SafetensorsWriter> shards_;
  std::map<std::string, std::string> hashes_;     // tensor -> SHA-256
  uint64_t total_bytes_ = 0;
};

}  // namespace cupel
