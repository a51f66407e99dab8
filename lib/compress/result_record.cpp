#include "compress/result_record.h"

#include "core/json.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json layer_json(const LayerResult& layer, bool timing) {
  Json json{{"name", layer.name},
            {"shape", {layer.rows, layer.columns}},
            {"sparsity", layer.sparsity},
            {"bits", layer.bits > 0 ? Json(layer.bits) : Json(nullptr)},
            {"loss", optional(layer.loss)},
            {"relative_error", optional(layer.relative_error)},
            {"sweep_loss", optional(layer.sweep_loss)},
            {"damping", optional(layer.damping)},
            {"rungs", layer.rungs},
            {"dead_columns", layer.dead_columns},
            {"tokens", layer.tokens},
            {"packed_bytes", layer.packed_bytes},
            {"notes", layer.notes}};
  if (timing) json["seconds"] = layer.seconds;
  return json;
}

Json result_json(const CompressionResult& result, bool timing) {
  Json json{{"method", result.method},
            {"options", parse_json(result.options_json, "options_json")},
            {"propagation", result.propagation},
            {"calibration",
             {{"hash", result.calibration_hash},
              {"samples", result.calibration_samples},
              {"tokens", result.calibration_tokens}}},
            {"allocation", result.allocation.empty() ? Json(nullptr) : Json(result.allocation)},
            {"keep_zeros", result.keep_zeros},
            {"weights", result.weights()},
            {"sparsity", result.sparsity()},
            {"packed_bytes", result.packed_bytes()},
            {"skipped", result.skipped}};
  if (timing) json["seconds"] = result.seconds;
  json["plan"] = Json::array();
  for (const auto& layer : result.plan) {
    Json entry{{"name", layer.name}, {"method", layer.method}};
    if (layer.prune_count >= 0) entry["prune_count"] = layer.prune_count;
    json["plan"].push_back(entry);
  }
  json["layers"] = Json::array();
  for (const auto& layer : result.layers) json["layers"].push_back(layer_json(layer, timing));
  return json;
}

}  // namespace

std::string append_record(const std::string& record, const CompressionResult& result) {
  Json runs = record.empty() ? Json::array() : parse_json(record, "record", false);
  runs.push_back(result_json(result, false));
  return dump_json(runs);
}

int64_t CompressionResult::weights() const {
  int64_t count = 0;
  for (const auto& layer : layers) count += layer.rows * layer.columns;
  return count;
}

double CompressionResult::sparsity() const {
  double zeros = 0;
  for (const auto& layer : layers) {
    zeros += layer.sparsity * static_cast<double>(layer.rows * layer.columns);
  }
  const auto all = static_cast<double>(weights());
  return all > 0 ? zeros / all : 0.0;
}

int64_t CompressionResult::packed_bytes() const {
  int64_t bytes = 0;
  for (const auto& layer : layers) bytes += layer.packed_bytes;
  return bytes;
}

std::map<std::string, torch::Tensor> CompressionResult::masks() const {
  std::map<std::string, torch::Tensor> masks;
  for (const auto& layer : layers) {
    if (layer.mask.defined()) masks[layer.name] = layer.mask;
  }
  check(!masks.empty(), "CompressionResult",
        "there are no masks: the method prunes nothing, or they were dropped (keep_tensors).");
  return masks;
}

std::string CompressionResult::to_json() const { return dump_json(result_json(*this, true), 1); }

}  // namespace cupel
