#include "cupel/model/config.h"

#include <cmath>

#include "core/json.h"
#include "model/json_fields.h"
#include "model/quantization_config.h"

namespace cupel {

namespace {

// transformers 5 writes rope_parameters; earlier versions rope_theta beside rope_scaling.
RopeConfig read_rope(const Json& json, const Fields& config, const std::string& file) {
  RopeConfig rope;
  rope.theta = config.number("rope_theta", 1e-3, 1e12, rope.theta);
  const char* key = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!config.has(key)) return rope;
  const Fields fields(config.object(key), file, std::string(key) + ".");
  rope.theta = fields.number("rope_theta", 1e-3, 1e12, rope.theta);
  rope.type = fields.text("rope_type", fields.text("type", "default"));
  if (rope.type == "default") return rope;
  if (rope.type != "linear" && rope.type != "llama3") {
    fields.fail("rope_type", "must be default, linear or llama3. Got '" + rope.type + "'");
  }
  if (!fields.has("factor")) fields.fail("factor", "is required");
  rope.factor = fields.number("factor", 1.0, 1e6, 1.0);
  if (rope.type == "llama3") {
    rope.low_freq_factor = fields.number("low_freq_factor", 1e-6, 1e6, 1.0);
    rope.high_freq_factor = fields.number("high_freq_factor", 1e-6, 1e6, 4.0);
    rope.original_positions = fields.integer("original_max_position_embeddings", 1, 1 << 30);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      fields.fail("high_freq_factor", "must be above low_freq_factor");
    }
  }
  return rope;
}

std::string read_architecture(const Json& json, const Fields& config) {
  if (!config.has("architectures")) config.fail("architectures", "is required");
  const Json& names = json["architectures"];
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    config.fail("architectures", "must hold one name. Got " + names.dump());
  }
  return names[0].get<std::string>();
}

}  // namespace

ModelConfig parse_model_config(const std::string& text, const std::string& file) {
  const Json json = parse_json(text, file);
  const Fields fields(json, file);
  ModelConfig config;
  config.text = text;
  if (fields.has("auto_map")) {
    fields.fail("auto_map", "names remote code, which cupel never runs");
  }
  if (fields.has("quantization_config")) {
    parse_quantization_config(fields.object("quantization_config"), file);
  }
  config.architecture = read_architecture(json, fields);
  config.model_type = fields.text("model_type", "");
  constexpr int64_t kSize = int64_t{1} << 24;
  config.vocabulary = fields.integer("vocab_size", 1, kSize);
  config.hidden = fields.integer("hidden_size", 1, kSize);
  config.intermediate = fields.integer("intermediate_size", 1, kSize);
  config.layers = fields.integer("num_hidden_layers", 1, 10'000);
  config.heads = fields.integer("num_attention_heads", 1, 65'536);
  config.key_value_heads = fields.integer("num_key_value_heads", 1, 65'536, config.heads);
  if (config.heads % config.key_value_heads != 0) {
    fields.fail("num_key_value_heads", "must divide num_attention_heads (" +
                                           std::to_string(config.heads) + "). Got " +
                                           std::to_string(config.key_value_heads));
  }
  if (!fields.has("head_dim") && config.hidden % config.heads != 0) {
    fields.fail("num_attention_heads", "must divide hidden_size when head_dim is not given");
  }
  config.head_dim = fields.integer("head_dim", 2, 65'536, config.hidden / config.heads);
  if (config.head_dim % 2 != 0) fields.fail("head_dim", "must be even for rotary embeddings");
  config.max_positions = fields.integer("max_position_embeddings", 1, 1 << 30, 2048);
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.rope = read_rope(json, fields, file);
  config.tied_embeddings = fields.boolean("tie_word_embeddings", false);
  config.attention_bias = fields.boolean("attention_bias", false);
  config.mlp_bias = fields.boolean("mlp_bias", false);
  config.dtype = fields.text("dtype", fields.text("torch_dtype", ""));
  const std::string act = fields.text("hidden_act", "silu");
  if (act != "silu" && act != "swish") {
    fields.fail("hidden_act", "must be silu. Got '" + act + "'");
  }
  if (fields.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    fields.fail("partial_rotary_factor", "must be 1");
  }
  return config;
}

}  // namespace cupel
