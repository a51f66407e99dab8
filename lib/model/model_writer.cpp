#include "model/model_writer.h"

#include <filesystem>

#include "checkpoint/weight_names.h"
#include "core/json.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/version.h"

namespace cupel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

std::string dtype_name(torch::Dtype dtype) {
  if (dtype == torch::kBFloat16) return "bfloat16";
  return dtype == torch::kHalf ? "float16" : "float32";
}

}  // namespace

ModelWriter::ModelWriter(const Model& model, const std::string& dir) : model_(model), dir_(dir) {
  check(!dir.empty(), "save_model", "a folder is needed.");
  const auto source = model.source();
  const auto shapes = model.tensor_shapes();
  std::map<std::string, std::vector<TensorInfo>> plan;
  const auto add = [&](const std::string& shard, const TensorInfo& info) {
    plan[shard].push_back(info);
    shard_of_[info.name] = shard;
    total_bytes_ += checked_nbytes(info.shape, info.dtype, shard, info.name);
  };
  if (source) {
    for (const auto& shard : source->shard_names()) {
      for (const auto& name : source->names_in_shard(shard)) {
        const bool own = shapes.count(name) > 0;
        const TensorInfo& info = source->info(name);
        add(shard, {name, own ? model.dtype() : info.dtype, info.shape});
      }
    }
  } else {
    for (const auto& [name, shape] : shapes) {
      add("model.safetensors", {name, model.dtype(), shape});
    }
  }
  check_folder();
  made_dir_ = fs::create_directories(dir_);
  const auto room = fs::space(dir_).available;
  check(room > total_bytes_, "save_model", "the weights need ", total_bytes_, " bytes. Got ", room,
        " free in ", dir_, ".");
  for (auto& [shard, infos] : plan) {
    std::map<std::string, std::string> metadata;
    if (source) metadata = source->metadata_of_shard(shard);
    metadata["format"] = "pt";  // transformers refuses files without it
    shards_.emplace(std::piecewise_construct, std::forward_as_tuple(shard),
                    std::forward_as_tuple((fs::path(dir_) / shard).string(), std::move(infos),
                                          metadata));
  }
}

ModelWriter::~ModelWriter() {
  shards_.clear();
  std::error_code ignored;
  if (made_dir_ && !finished_) fs::remove_all(dir_, ignored);  // nobody had it before us
}

void ModelWriter::check_folder() const {
  if (!fs::exists(dir_)) return;
  check(fs::is_directory(dir_), "save_model", "the output must be a folder. Got ", dir_, ".");
  for (const auto& entry : fs::directory_iterator(dir_)) {
    const std::string name = entry.path().filename().string();
    bool ours = shard_of_.empty();
    for (const auto& [tensor, shard] : shard_of_) ours = ours || name == shard;
    const bool sharded = model_.source() && model_.source()->shard_names().size() > 1;
    if (name == kIndex) ours = sharded;
    check(!is_weight_file(name) || ours, "save_model",
          "the folder must not hold weights of another model. Got ", name, " in ", dir_,
          "; choose an empty folder.");
  }
}

void ModelWriter::write(const std::string& name, const torch::Tensor& tensor) {
  const auto shard = shard_of_.find(name);
  check(shard != shard_of_.end(), "save_model", "the model has no tensor '", name, "'.");
  hashes_[name] = shards_.at(shard->second).write(name, tensor);
}

std::string ModelWriter::config_text() const {
  const auto source = model_.source();
  if (!source) return model_.config().text;
  const std::string embedding = model_.outer_tensors().begin()->first;
  if (source->info(embedding).dtype == model_.dtype()) return model_.config().text;
  Json config = parse_json(model_.config().text, "config.json");
  const char* key = config.contains("torch_dtype") ? "torch_dtype" : "dtype";
  config[key] = dtype_name(model_.dtype());
  return dump_json(config, 2) + "\n";
}

std::string ModelWriter::provenance(const std::string& record) const {
  Json json{{"cupel_version", CUPEL_VERSION}, {"format", "dense"}};
  json["compression"] = record.empty() ? Json::array() : parse_json(record, "record", false);
  json["tensors"] = Json::object();
  for (const auto& [name, hash] : hashes_) json["tensors"][name] = {{"sha256", hash}};
  return dump_json(json, 1) + "\n";
}

void ModelWriter::finish(const std::string& record) {
  const auto source = model_.source();
  for (const auto& [name, shard] : shard_of_) {
    // Rotary buffers and a head that is tied anyway: as the source has them.
    if (!hashes_.count(name) && source) write(name, source->read(name));
  }
  if (source) copy_companion_files(source->dir(), dir_, {"config.json", "cupel.json"});
  for (auto& [name, shard] : shards_) shard.commit();
  if (shards_.size() > 1) write_index(dir_, shard_of_, total_bytes_);
  write_file((fs::path(dir_) / "cupel.json").string(), provenance(record));
  write_file((fs::path(dir_) / "config.json").string(), config_text());
  finished_ = true;
}

}  // namespace cupel
