// Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al., arXiv
// 2302.13971 and 2307.09288). Operation order and dtypes follow transformers' LlamaForCausalLM, so
// that logits agree to rounding in float32 and in bfloat16.
#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"
#include "model/architectures/architectures.h"
#include "model/rms_norm.h"
#include "model/rotary.h"
#include "model/row_kernels.h"

namespace cupel {

namespace {

std::string layer_prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

class LlamaBlock : public Block {
 public:
  LlamaBlock(const ModelConfig& config, int64_t layer, const WeightSource& weights)
      : config_(config), prefix_(layer_prefix(layer)) {
    const int64_t h = config.hidden, d = config.head_dim, f = config.intermediate;
    const int64_t q = config.heads * d, kv = config.key_value_heads * d;
    input_norm_ = weights(prefix_ + "input_layernorm.weight", {h});
    post_norm_ = weights(prefix_ + "post_attention_layernorm.weight", {h});
    const auto linear = [&](const char* name, int64_t out, int64_t in, bool bias) {
      const std::string base = prefix_ + name;
      return Linear(weights(base + ".weight", {out, in}),
                    bias ? weights(base + ".bias", {out}) : torch::Tensor());
    };
    q_ = linear("self_attn.q_proj", q, h, config.attention_bias);
    k_ = linear("self_attn.k_proj", kv, h, config.attention_bias);
    v_ = linear("self_attn.v_proj", kv, h, config.attention_bias);
    o_ = linear("self_attn.o_proj", h, q, config.attention_bias);
    gate_ = linear("mlp.gate_proj", f, h, config.mlp_bias);
    up_ = linear("mlp.up_proj", f, h, config.mlp_bias);
    down_ = linear("mlp.down_proj", h, f, config.mlp_bias);
  }

  int64_t stages() const override { return 4; }

  std::vector<NamedLinear> linears(int64_t stage) override {
    switch (stage) {
      case 0:
        return {{prefix_ + "self_attn.q_proj", &q_},
                {prefix_ + "self_attn.k_proj", &k_},
                {prefix_ + "self_attn.v_proj", &v_}};
      case 1:
        return {{prefix_ + "self_attn.o_proj", &o_}};
      case 2:
        return {{prefix_ + "mlp.gate_proj", &gate_}, {prefix_ + "mlp.up_proj", &up_}};
      case 3:
        return {{prefix_ + "mlp.down_proj", &down_}};
    }
    throw std::invalid_argument(c10::str("[Block] stages run from 0 to 3. Got ", stage, "."));
  }

  torch::Tensor input(int64_t stage, const BlockState& state) const override {
    if (stage == 1 || stage == 3) return state.carried;
    const auto& weight = stage == 0 ? input_norm_ : post_norm_;
    return state.packed ? fused_rms_norm(state.hidden, weight, config_.rms_norm_eps)
                        : rms_norm(state.hidden, weight, config_.rms_norm_eps);
  }

  void apply(int64_t stage, const torch::Tensor& x, BlockState& state) const override {
    if (state.packed) return apply_packed(stage, x, state);
    switch (stage) {
      case 0:
        state.carried = attention(x, state);
        break;
      case 1:
        state.hidden = plus(o_.forward(x), state.hidden);
        break;
      case 2:
        state.carried = gate_.forward(x);
        at::silu_(state.carried).mul_(up_.forward(x));
        break;
      default:
        state.hidden = plus(down_.forward(x), state.hidden);
        state.carried = torch::Tensor();
    }
  }

  std::vector<std::pair<std::string, torch::Tensor>> tensors() const override {
    std::vector<std::pair<std::string, torch::Tensor>> all{
        {prefix_ + "input_layernorm.weight", input_norm_},
        {prefix_ + "post_attention_layernorm.weight", post_norm_}};
    auto* self = const_cast<LlamaBlock*>(this);
    for (int64_t stage = 0; stage < stages(); ++stage) {
      for (const auto& [name, linear] : self->linears(stage)) {
        all.emplace_back(name + ".weight", linear->weight());
        if (linear->bias().defined()) all.emplace_back(name + ".bias", linear->bias());
      }
    }
    return all;
  }

 private:
  // In the memory of `made`, which is nobody else's.
  static torch::Tensor plus(torch::Tensor made, const torch::Tensor& hidden) {
    return made.scalar_type() == hidden.scalar_type() ? made.add_(hidden) : hidden + made;
  }

  // The same sums by the fastest products. The others, calibration's, are those of transformers.
  void apply_packed(int64_t stage, const torch::Tensor& x, BlockState& state) const {
    switch (stage) {
      case 0:
        state.carried = packed_attention(x, state);
        break;
      case 1:
        state.hidden = o_.infer_plus(x, state.hidden);
        break;
      case 2:
        state.carried = up_.infer_times(x, gate_.infer_silu(x));
        break;
      default:
        state.hidden = down_.infer_plus(x, state.hidden);
        state.carried = torch::Tensor();
    }
  }

  torch::Tensor packed_attention(const torch::Tensor& x, const BlockState& state) const {
    const int64_t keys = config_.key_value_heads;
    const auto q = fused_rotate(q_.infer(x), config_.heads, state.cos, state.sin);
    const auto k = fused_rotate(k_.infer(x), keys, state.cos, state.sin);
    const auto v = v_.infer(x).view({x.size(1), keys, config_.head_dim}).transpose(0, 1);
    return state.packed->attend(q[0], k[0], v).unsqueeze(0);
  }

  torch::Tensor attention(const torch::Tensor& x, BlockState& state) const {
    const int64_t batch = x.size(0), length = x.size(1), d = config_.head_dim;
    const auto heads = [&](const torch::Tensor& t, int64_t count) {
      return t.view({batch, length, count, d}).transpose(1, 2);
    };
    auto q = rotate(heads(q_.forward(x), config_.heads), state.cos, state.sin);
    auto k = rotate(heads(k_.forward(x), config_.key_value_heads), state.cos, state.sin);
    auto v = heads(v_.forward(x), config_.key_value_heads);
    int64_t past = 0;
    if (state.cache) {
      if (state.cache->keys.defined()) {
        past = state.cache->keys.size(2);
        k = at::cat({state.cache->keys, k}, 2);
        v = at::cat({state.cache->values, v}, 2);
      }
      *state.cache = {k, v};
    }
    const int64_t repeat = config_.heads / config_.key_value_heads;
    if (repeat > 1) {
      k = k.repeat_interleave(repeat, 1);
      v = v.repeat_interleave(repeat, 1);
    }
    std::optional<at::Tensor> mask;
    if (past > 0 && length > 1) {  // the causal flag would align the triangle at the wrong corner
      mask = at::ones({length, past + length}, x.options().dtype(torch::kBool)).tril(past);
    }
    const auto out = at::scaled_dot_product_attention(q, k, v, mask, 0.0, past == 0 && length > 1);
    return out.transpose(1, 2).reshape({batch, length, config_.heads * d});
  }

  ModelConfig config_;
  std::string prefix_;
  torch::Tensor input_norm_, post_norm_;
  Linear q_, k_, v_, o_, gate_, up_, down_;
};

}  // namespace

Architecture llama() {
  Architecture llama;
  llama.embedding = "model.embed_tokens.weight";
  llama.final_norm = "model.norm.weight";
  llama.head = "lm_head.weight";
  llama.make_block = [](const ModelConfig& config, int64_t layer, const WeightSource& weights) {
    return std::make_unique<LlamaBlock>(config, layer, weights);
  };
  // The block's own constructor is the one list of shapes: run it on a source that only records.
  llama.block_shapes = [](const ModelConfig& config, int64_t layer) {
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
    LlamaBlock(config, layer, [&](const std::string& name, torch::IntArrayRef shape) {
      shapes.emplace_back(name, shape.vec());
      return at::empty(shape, at::TensorOptions().device(at::kMeta));
    });
    return shapes;
  };
  return llama;
}

}  // namespace cupel
