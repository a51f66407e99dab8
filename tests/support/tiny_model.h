#pragma once

// A seeded Llama small enough to be recomputed by plain loops: 2 blocks, hidden 16, 4 heads that
// share 2 key-value heads, intermediate 24, 50 tokens. Widths times `width` where a test asks.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "cupel/calibration/windows.h"
#include "cupel/model/model.h"

namespace cupel::test {

/// Normal numbers that depend on the seed alone.
inline torch::Tensor seeded_normal(torch::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kFloat));
}

struct TinyOptions {
  bool tied = false;
  bool bias = false;
  int64_t head_dim = 4;  ///< 4 = hidden / heads
  int64_t width = 1;     ///< hidden is 16, intermediate 24 times this
  int64_t layers = 2;
  int64_t positions = 64;
  uint64_t seed = 0;
  std::string rope = "";  ///< more members of config.json, each with a comma in front
};

inline std::string tiny_config(const TinyOptions& options = {}) {
  const auto word = [](bool value) { return value ? "true" : "false"; };
  return c10::str(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",)",
                  R"("vocab_size": 50, "hidden_size": )", 16 * options.width,
                  R"(, "intermediate_size": )", 24 * options.width, ",",
                  R"("num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": )",
                  options.head_dim, R"(, "num_hidden_layers": )", options.layers,
                  R"(, "max_position_embeddings": )", options.positions,
                  R"(, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": )",
                  word(options.tied), R"(, "attention_bias": )", word(options.bias),
                  R"(, "mlp_bias": )", word(options.bias), options.rope, "}");
}

/// Weights of about 1 / sqrt(in), norms around 1: activations stay of the order of one.
inline TensorMap tiny_weights(const TinyOptions& options = {}) {
  TensorMap weights;
  uint64_t seed = 1000 * options.seed;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, double scale,
                       double offset = 0) {
    weights[name] = seeded_normal(shape, ++seed) * scale + offset;
  };
  const int64_t hidden = 16 * options.width, inner = 24 * options.width;
  const int64_t q = 4 * options.head_dim, kv = 2 * options.head_dim;
  add("model.embed_tokens.weight", {50, hidden}, 1.0);
  add("model.norm.weight", {hidden}, 0.1, 1.0);
  if (!options.tied) add("lm_head.weight", {50, hidden}, 0.5);
  for (int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string prefix = c10::str("model.layers.", layer, ".");
    add(prefix + "input_layernorm.weight", {hidden}, 0.1, 1.0);
    add(prefix + "post_attention_layernorm.weight", {hidden}, 0.1, 1.0);
    const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
      add(prefix + name + ".weight", {out, in},
          0.3 / std::sqrt(static_cast<double>(options.width)));
      if (options.bias) add(prefix + name + ".bias", {out}, 0.2);
    };
    linear("self_attn.q_proj", q, hidden);
    linear("self_attn.k_proj", kv, hidden);
    linear("self_attn.v_proj", kv, hidden);
    linear("self_attn.o_proj", hidden, q);
    linear("mlp.gate_proj", inner, hidden);
    linear("mlp.up_proj", inner, hidden);
    linear("mlp.down_proj", hidden, inner);
  }
  return weights;
}

inline std::unique_ptr<Model> tiny_model(const TinyOptions& options = {}) {
  return make_model(tiny_config(options), tiny_weights(options));
}

/// int64 [length] ids below 50.
inline torch::Tensor tiny_tokens(int64_t length, uint64_t seed) {
  return at::randint(0, 50, {length}, at::detail::createCPUGenerator(seed),
                     at::TensorOptions(at::kLong));
}

/// One sample of each length.
inline Calibration tiny_calibration(const std::vector<int64_t>& lengths, uint64_t seed = 7) {
  std::vector<torch::Tensor> samples;
  for (const int64_t length : lengths) samples.push_back(tiny_tokens(length, ++seed));
  return Calibration(samples);
}

}  // namespace cupel::test
