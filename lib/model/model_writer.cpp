#include "model/dtype_name.h"
#include "model/model_writer.h"

#include <filesystem>

#include "checkpoint/weight_names.h"
#include "core/json.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/version.h"
#include "model/packed_linears.h"
#include "model/quantization_config.h"

namespace cupel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kQuantization = "quantization_config";

}  // namespace

void check_save_options(const SaveOptions& options) {
  check(options.format == "dense" || options.format == "pack-quantized", "save_model",
        "the format is dense or pack-quantized. Got '", options.format, "'.");
}

ModelWriter::ModelWriter(const Model& model, const std::string& dir, const SaveOptions& options)
    : model_(model), dir_(dir), format_(options.format) {
  check_save_options(options);
  check(!dir.empty(), "save_model", "a folder is needed.");
  const ShardPlan plan = plan_shards(model);
  for (const auto& [shard, infos] : plan) {
    for (const auto& info : infos) {
      shard_of_[info.name] = shard;
      pending_.insert(info.name);
    }
  }
  check_folder();
  made_dir_ = fs::create_directories(dir_);
  try {
    open_shards(plan);
  } catch (...) {  // no destructor runs
    remove_unfinished();
    throw;
  }
}

void ModelWriter::open_shards(const ShardPlan& plan) {
  if (format_ == "dense") {
    uint64_t bytes = 0;
    for (const auto& [shard, infos] : plan) {
      for (const auto& info : infos)
        bytes += checked_nbytes(info.shape, info.dtype, shard, info.name);
    }
    const auto room = fs::space(dir_).available;
    check(room > bytes, "save_model", "the weights need ", bytes, " bytes. Got ", room, " free in ",
          dir_, ".");
  }
  for (const auto& [shard, infos] : plan) {
    const std::string path = (fs::path(dir_) / shard).string();
    std::map<std::string, std::string> metadata;
    if (model_.source()) metadata = model_.source()->metadata_of_shard(shard);
    metadata["format"] = "pt";  // transformers refuses files without it
    // How a layer is packed is known when it comes.
    shards_.emplace(shard, format_ == "dense" ? SafetensorsWriter(path, infos, metadata)
                                              : SafetensorsWriter::growing(
                                                    path, possible_tensors(infos), metadata));
  }
}

ModelWriter::~ModelWriter() { remove_unfinished(); }

void ModelWriter::remove_unfinished() {
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
    if (name == kIndex) ours = shard_of_.begin()->second != kSingle;
    check(!is_weight_file(name) || ours, "save_model",
          "the folder must not hold weights of another model. Got ", name, " in ", dir_,
          "; choose an empty folder.");
  }
}

void ModelWriter::write_to(const std::string& shard, const std::string& name,
                           const torch::Tensor& tensor) {
  hashes_[name] = shards_.at(shard).write(name, tensor);
  index_[name] = shard;
  total_bytes_ += tensor.nbytes();
}

void ModelWriter::write(const std::string& name, const torch::Tensor& tensor) {
  const auto shard = shard_of_.find(name);
  check(shard != shard_of_.end(), "save_model", "the model has no tensor '", name, "'.");
  write_to(shard->second, name, tensor);
  pending_.erase(name);
}

void ModelWriter::write_block(Block& block) {
  std::map<std::string, LinearToPack> packed;
  if (format_ != "dense") {
    packed = linears_to_pack(block, model_.dtype());
    for (int64_t stage = 0; stage < block.stages(); ++stage) {
      for (const auto& [name, linear] : block.linears(stage)) {
        const auto found = packed.find(name);
        auto& list = found == packed.end() ? dense_linears_ : packed_[found->second.scheme];
        list.push_back(name);
      }
    }
  }
  for (const auto& [name, tensor] : block.tensors()) {
    const auto found = name.ends_with(".weight") ? packed.find(layer_of(name)) : packed.end();
    if (found == packed.end()) {
      write(name, tensor);
      continue;
    }
    const auto& [scheme, quantized] = found->second;
    for (const auto& [part, values] :
         pack_weight(scheme, found->first, quantized, model_.dtype())) {
      write_to(shard_of_.at(name), part, values);
    }
    pending_.erase(name);
  }
}

std::string ModelWriter::config_text() const {
  const std::string& text = model_.config().text;
  const auto source = model_.source();
  const bool same_dtype =
      !source || source->info(model_.architecture().embedding).dtype == model_.dtype();
  Json config = parse_json(text, "config.json");
  if (same_dtype && format_ == "dense" && !config.contains(kQuantization)) return text;
  if (!same_dtype) {
    config[config.contains("torch_dtype") ? "torch_dtype" : "dtype"] = dtype_name(model_.dtype());
  }
  config.erase(kQuantization);
  if (format_ != "dense") {
    auto ignored = dense_linears_;
    ignored.push_back(layer_of(model_.architecture().head));
    config[kQuantization] = quantization_config_json(packed_, ignored);
  }
  return dump_json(config, 2) + "\n";
}

std::string ModelWriter::provenance(const std::string& record) const {
  Json json{{"cupel_version", CUPEL_VERSION}, {"format", format_}};
  json["compression"] = record.empty() ? Json::array() : parse_json(record, "record", false);
  json["tensors"] = Json::object();
  for (const auto& [name, hash] : hashes_) json["tensors"][name] = {{"sha256", hash}};
  return dump_json(json, 1) + "\n";
}

void ModelWriter::finish(const std::string& record) {
  const auto source = model_.source();
  // Rotary buffers and a head that is tied anyway: as the source has them.
  const auto extra = source ? pending_ : std::set<std::string>();
  for (const auto& name : extra) write(name, source->read(name));
  check(pending_.empty(), "save_model", "every tensor of the model is written. Got none for '",
        pending_.empty() ? "" : *pending_.begin(), "'.");
  if (source) copy_companion_files(source->dir(), dir_, {"config.json", "cupel.json"});
  for (auto& [name, shard] : shards_) shard.commit();
  if (!shards_.count(kSingle)) write_index(dir_, index_, total_bytes_);
  write_file((fs::path(dir_) / "cupel.json").string(), provenance(record));
  write_file((fs::path(dir_) / "config.json").string(), config_text());
  finished_ = true;
}

}  // namespace cupel
