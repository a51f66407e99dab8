#include "model/quantization_config.h"

#include "cupel/core/unicode.h"
#include "model/json_fields.h"

namespace cupel {

namespace {

constexpr const char* kMethod = "compressed-tensors";
constexpr const char* kFormat = "pack-quantized";
constexpr const char* kField = "quantization_config";

/// `key` must be `only`, or may be absent where `otherwise` is that value.
void require(const Fields& fields, const char* key, const std::string& only,
             const std::string& otherwise = "") {
  const std::string value = fields.text(key, otherwise);
  if (value != only) fields.fail(key, "must be " + only + ". Got '" + printable(value, 60) + "'");
}

int64_t parse_group_size(const Fields& weights) {
  constexpr int64_t largest = int64_t{1} << 24;
  const bool whole_row =
      !weights.has("group_size") || weights.integer("group_size", -1, largest) < 0;
  const std::string strategy = weights.text("strategy", !weights.has("group_size") ? "tensor"
                                                        : whole_row                ? "channel"
                                                                                   : "group");
  if (strategy == "group") return weights.integer("group_size", 1, largest);
  if (strategy != "channel") {
    weights.fail("strategy", "must be group or channel. Got '" + printable(strategy, 60) + "'");
  }
  if (!whole_row) weights.fail("group_size", "must be null for the strategy channel");
  return 0;
}

PackScheme parse_weights(const Json& json, const std::string& file, const std::string& prefix) {
  const Fields weights(json, file, prefix);
  weights.only({"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure",
                "dynamic", "actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  PackScheme scheme;
  require(weights, "type", "int", "int");
  scheme.bits = weights.integer("num_bits", 1, 32);
  if (scheme.bits != 4 && scheme.bits != 8) {
    weights.fail("num_bits", "must be 4 or 8. Got " + std::to_string(scheme.bits));
  }
  scheme.symmetric = weights.boolean("symmetric", true);
  scheme.group = parse_group_size(weights);
  weights.absent("block_structure", "must be null");
  if (weights.boolean("dynamic", false)) weights.fail("dynamic", "must be false");
  // How columns were ordered while the codes were chosen ("weight") leaves no trace in the file;
  // another order in the file ("group") would.
  const bool unordered = !weights.has("actorder") || json["actorder"] == Json(false);
  if (!unordered && json["actorder"] != "weight" && json["actorder"] != "static") {
    weights.fail("actorder", "must be null, weight or static. Got " + json["actorder"].dump());
  }
  return scheme;
}

QuantizationConfig::Group parse_group(const Json& json, const std::string& file,
                                      const std::string& prefix) {
  const Fields group(json, file, prefix);
  group.only({"targets", "weights", "input_activations", "output_activations", "format"});
  for (const char* key : {"input_activations", "output_activations"}) {
    group.absent(key, "must be null: quantized activations are not supported");
  }
  require(group, "format", kFormat, kFormat);
  const auto targets = group.texts("targets");
  if (targets.empty()) group.fail("targets", "must name the layers");
  return {targets, parse_weights(group.object("weights"), file, prefix + "weights.")};
}

}  // namespace

QuantizationConfig parse_quantization_config(const Json& json, const std::string& file) {
  const std::string prefix = std::string(kField) + ".";
  const Fields fields(json, file, prefix);
  require(fields, "quant_method", kMethod);
  require(fields, "format", kFormat);
  require(fields, "quantization_status", "compressed");
  fields.only({"config_groups", "quant_method", "kv_cache_scheme", "format", "quantization_status",
               "global_compression_ratio", "ignore", "sparsity_config", "transform_config",
               "version", "run_compressed", "dequantize"});
  fields.absent("kv_cache_scheme", "must be null: a quantized cache is not supported");
  fields.absent("sparsity_config", "must be empty: sparse formats are not supported");
  fields.absent("transform_config", "must be empty: transforms are not supported");
  QuantizationConfig config;
  config.ignore = fields.texts("ignore");
  const Json& groups = fields.object("config_groups");
  const Fields group_fields(groups, file, prefix + "config_groups.");
  for (const auto& [name, group] : groups.items()) {
    const std::string place = prefix + "config_groups." + printable(name, 60) + ".";
    config.groups.push_back(parse_group(group_fields.object(name.c_str()), file, place));
  }
  if (config.groups.empty()) fields.fail("config_groups", "must hold a group");
  return config;
}

Json quantization_config_json(const std::map<PackScheme, std::vector<std::string>>& groups,
                              const std::vector<std::string>& ignored) {
  Json config_groups = Json::object();
  for (const auto& [scheme, layers] : groups) {
    const Json weights{{"num_bits", scheme.bits},
                       {"type", "int"},
                       {"symmetric", scheme.symmetric},
                       {"strategy", scheme.group > 0 ? "group" : "channel"},
                       {"group_size", scheme.group > 0 ? Json(scheme.group) : Json(nullptr)},
                       {"block_structure", nullptr},
                       {"dynamic", false},
                       {"actorder", nullptr},
                       {"observer", nullptr},
                       {"observer_kwargs", Json::object()}};
    const std::string name = "group_" + std::to_string(config_groups.size());
    config_groups[name] = {
        {"targets", groups.size() == 1 ? Json::array({kLinearClass}) : Json(layers)},
        {"weights", weights},
        {"input_activations", nullptr},
        {"output_activations", nullptr},
        {"format", kFormat}};
  }
  return {{"config_groups", config_groups},
          {"format", kFormat},
          {"global_compression_ratio", nullptr},
          {"ignore", ignored},
          {"kv_cache_scheme", nullptr},
          {"quant_method", kMethod},
          {"quantization_status", "compressed"},
          {"sparsity_config", Json::object()},
          {"transform_config", Json::object()},
          {"version", "0.19.0"}};  // of compressed-tensors, the first with this layout for all bits
}

}  // namespace cupel
