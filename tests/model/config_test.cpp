#include "cupel/model/config.h"

#include "support/catch.h"
#include <nlohmann/json.hpp>

#include "support/format_error.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::require_format_error;
using nlohmann::json;

namespace {

json base() { return json::parse(test::tiny_config()); }

ModelConfig parse(const json& config) { return parse_model_config(config.dump(), "config.json"); }

// `config` is refused, and the message names the file, the field and the rule.
void refused(const json& config, const std::string& field, const std::string& rule) {
  INFO(config.dump());
  require_format_error([&] { parse(config); }, "config.json: " + field + ": ", rule);
}

}  // namespace

TEST_CASE("config: every field is read") {
  json config = base();
  config["torch_dtype"] = "bfloat16";
  config["tie_word_embeddings"] = true;
  config["mlp_bias"] = true;
  const ModelConfig got = parse(config);
  CHECK(got.architecture == "LlamaForCausalLM");
  CHECK(got.model_type == "llama");
  CHECK(got.vocabulary == 50);
  CHECK(got.hidden == 16);
  CHECK(got.intermediate == 24);
  CHECK(got.layers == 2);
  CHECK(got.heads == 4);
  CHECK(got.key_value_heads == 2);
  CHECK(got.head_dim == 4);
  CHECK(got.max_positions == 64);
  CHECK(got.rms_norm_eps == 1e-5);
  CHECK(got.tied_embeddings);
  CHECK_FALSE(got.attention_bias);
  CHECK(got.mlp_bias);
  CHECK(got.dtype == "bfloat16");
  CHECK(got.text == config.dump());
}

TEST_CASE("config: what is left out gets the published defaults") {
  json config = base();
  for (const char* key :
       {"num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "hidden_act",
        "tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    config.erase(key);
  }
  config["rope_scaling"] = nullptr;  // null is "not given"
  const ModelConfig got = parse(config);
  CHECK(got.key_value_heads == 4);
  CHECK(got.head_dim == 4);
  CHECK(got.max_positions == 2048);
  CHECK(got.rms_norm_eps == 1e-6);
  CHECK(got.rope.theta == 10000.0);
  CHECK(got.rope.type == "default");
  CHECK_FALSE(got.tied_embeddings);
  CHECK(got.dtype.empty());
}

TEST_CASE("config: a required field that is missing is named") {
  for (const char* key : {"architectures", "vocab_size", "hidden_size", "intermediate_size",
                          "num_hidden_layers", "num_attention_heads"}) {
    json config = base();
    config.erase(key);
    refused(config, key, "is required");
    config[key] = nullptr;
    refused(config, key, "is required");
  }
}

TEST_CASE("config: a size of another type or out of range is named") {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& wrong : {json("16"), json(16.5), json(true), json::array({16})}) {
      json config = base();
      config[key] = wrong;
      refused(config, key, "must be an integer");
    }
    for (const json& wrong : {json(0), json(-1), json(INT64_MAX), json(UINT64_MAX)}) {
      json config = base();
      config[key] = wrong;
      refused(config, key, "must lie in [");
    }
  }
}

TEST_CASE("config: other fields of a wrong type or value are named") {
  const std::vector<std::tuple<const char*, json, const char*>> cases{
      {"rms_norm_eps", "small", "must be a number"},
      {"rms_norm_eps", -1e-6, "must lie in ["},
      {"rope_theta", 0.0, "must lie in ["},
      {"rope_theta", "big", "must be a number"},
      {"tie_word_embeddings", 1, "must be true or false"},
      {"attention_bias", "no", "must be true or false"},
      {"mlp_bias", 0, "must be true or false"},
      {"model_type", 3, "must be a string"},
      {"torch_dtype", 16, "must be a string"},
      {"hidden_act", "gelu", "must be silu. Got 'gelu'"},
      {"partial_rotary_factor", 0.5, "must be 1"},
      {"auto_map", json{{"AutoModel", "modeling.Evil"}}, "remote code"},
      {"quantization_config", 4, "must be an object"},
      {"architectures", "LlamaForCausalLM", "must hold one name"},
      {"architectures", json::array(), "must hold one name"},
      {"architectures", json::array({1}), "must hold one name"},
      {"rope_scaling", "linear", "must be an object"},
      {"rope_parameters", json::array(), "must be an object"}};
  for (const auto& [key, value, rule] : cases) {
    json config = base();
    config[key] = value;
    refused(config, key, rule);
  }
}

TEST_CASE("config: files packed in another way are refused") {
  json config = base();
  config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  refused(config, "quantization_config.quant_method", "must be compressed-tensors. Got 'gptq'");
  config["quantization_config"] = nullptr;
  CHECK(parse(config).layers == 2);
}

TEST_CASE("config: head counts must divide and heads be even") {
  json config = base();
  config["num_key_value_heads"] = 3;
  refused(config, "num_key_value_heads", "must divide num_attention_heads (4). Got 3");
  config = base();
  config["head_dim"] = 5;
  refused(config, "head_dim", "must be even");
  config = base();
  config.erase("head_dim");
  config["num_attention_heads"] = 6;
  refused(config, "num_attention_heads", "must divide hidden_size");
}

TEST_CASE("config: both spellings of rope say the same") {
  json old = base();
  old["rope_theta"] = 500000.0;
  old["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  json current = base();
  current["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "linear"}, {"factor", 4.0}};
  for (const json& config : {old, current}) {
    const RopeConfig rope = parse(config).rope;
    CHECK(rope.theta == 500000.0);
    CHECK(rope.type == "linear");
    CHECK(rope.factor == 4.0);
  }
}

TEST_CASE("config: llama3 rope is read and checked") {
  json config = base();
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 8192}};
  const RopeConfig rope = parse(config).rope;
  CHECK(rope.type == "llama3");
  CHECK(rope.factor == 8.0);
  CHECK(rope.low_freq_factor == 1.0);
  CHECK(rope.high_freq_factor == 4.0);
  CHECK(rope.original_positions == 8192);

  json wrong = config;
  wrong["rope_scaling"]["rope_type"] = "yarn";
  refused(wrong, "rope_scaling.rope_type", "must be default, linear or llama3. Got 'yarn'");
  wrong = config;
  wrong["rope_scaling"].erase("factor");
  refused(wrong, "rope_scaling.factor", "is required");
  wrong = config;
  wrong["rope_scaling"]["factor"] = 0.5;
  refused(wrong, "rope_scaling.factor", "must lie in [");
  wrong = config;
  wrong["rope_scaling"].erase("original_max_position_embeddings");
  refused(wrong, "rope_scaling.original_max_position_embeddings", "is required");
  wrong = config;
  wrong["rope_scaling"]["high_freq_factor"] = 1.0;
  refused(wrong, "rope_scaling.high_freq_factor", "must be above low_freq_factor");
}

TEST_CASE("config: text that is not strict JSON is refused") {
  require_format_error([] { parse_model_config("", "config.json"); }, "config.json", "JSON");
  require_format_error([] { parse_model_config("[]", "config.json"); }, "config.json", "object");
  require_format_error(
      [] { parse_model_config(R"({"vocab_size": 1, "vocab_size": 2})", "config.json"); },
      "config.json", "vocab_size");
}
