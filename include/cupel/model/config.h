#pragma once

#include <cstdint>
#include <string>

namespace cupel {

/// Rotary position embedding: how positions turn into angles.
struct RopeConfig {
  double theta = 10000.0;
  std::string type = "default";                          ///< "default", "linear" or "llama3"
  double factor = 1.0;                                   ///< linear, llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  ///< llama3
  int64_t original_positions = 0;                        ///< llama3
};

/// What config.json says of a decoder, with every range checked.
struct ModelConfig {
  std::string model_type;    ///< "llama"
  std::string architecture;  ///< "LlamaForCausalLM"
  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  double rms_norm_eps = 0;
  RopeConfig rope;
  bool tied_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::string dtype;  ///< as the file states it ("float32", ...), may be empty
  std::string text;   ///< config.json as it stands
};

/// Reads config.json text. FormatError names `file`, the field and the rule: a missing or
/// non-integer size, a size out of range, head counts that do not divide, an unknown activation,
/// rope type or quantization, remote code.
ModelConfig parse_model_config(const std::string& text, const std::string& file);

}  // namespace cupel
