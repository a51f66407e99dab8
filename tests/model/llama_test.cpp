#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <cmath>

#include "cupel/core/error.h"
#include "cupel/model/model.h"
#include "support/format_error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::TinyOptions;
using cupel::testing::require_close;

namespace {

// Float32 against a reference in float64 after two blocks: the rounding of some thousand operations
// on values of the order of one.
constexpr double kFloatRounding = 1e-5;

using Frequencies = std::function<double(int64_t pair)>;

// The plain definition of a Llama, in float64, one position and one head at a time.
class Reference {
 public:
  Reference(const TinyOptions& options, TensorMap weights, Frequencies frequencies = {})
      : options_(options), frequencies_(std::move(frequencies)) {
    for (auto& [name, tensor] : weights) weights_[name] = tensor.to(at::kDouble);
    if (!frequencies_) {
      frequencies_ = [d = options.head_dim](int64_t pair) {
        return std::pow(10000.0, -2.0 * static_cast<double>(pair) / static_cast<double>(d));
      };
    }
  }

  torch::Tensor logits(const torch::Tensor& tokens) const {
    auto hidden = weights_.at("model.embed_tokens.weight").index_select(0, tokens);
    for (int64_t layer = 0; layer < options_.layers; ++layer) {
      const std::string prefix = c10::str("model.layers.", layer, ".");
      hidden = hidden + attention(prefix + "self_attn.", norm(prefix + "input_layernorm", hidden));
      const auto x = norm(prefix + "post_attention_layernorm", hidden);
      const auto gate = linear(prefix + "mlp.gate_proj", x);
      const auto carried = gate / (1.0 + at::exp(-gate)) * linear(prefix + "mlp.up_proj", x);
      hidden = hidden + linear(prefix + "mlp.down_proj", carried);
    }
    const auto& head = weights_.at(options_.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    return norm("model.norm", hidden).matmul(head.t());
  }

 private:
  torch::Tensor norm(const std::string& name, const torch::Tensor& x) const {
    const auto length = at::sqrt((x * x).mean(-1, true) + 1e-5);
    return x / length * weights_.at(name + ".weight");
  }

  torch::Tensor linear(const std::string& name, const torch::Tensor& x) const {
    auto y = x.matmul(weights_.at(name + ".weight").t());
    if (options_.bias) y = y + weights_.at(name + ".bias");
    return y;
  }

  // Turns pair (i, i + d/2) of a vector by position * frequency(i).
  torch::Tensor turned(const torch::Tensor& vector, int64_t position) const {
    auto out = vector.clone();
    const int64_t half = options_.head_dim / 2;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies_(i);
      out[i] = vector[i] * std::cos(angle) - vector[i + half] * std::sin(angle);
      out[i + half] = vector[i + half] * std::cos(angle) + vector[i] * std::sin(angle);
    }
    return out;
  }

  torch::Tensor attention(const std::string& prefix, const torch::Tensor& x) const {
    const auto q = linear(prefix + "q_proj", x), k = linear(prefix + "k_proj", x);
    const auto v = linear(prefix + "v_proj", x);
    const int64_t length = x.size(0), d = options_.head_dim;
    auto out = at::zeros_like(q);
    for (int64_t head = 0; head < 4; ++head) {
      const int64_t shared = head / 2 * d;  // heads 0 and 1 read key-value head 0, 2 and 3 head 1
      for (int64_t t = 0; t < length; ++t) {
        const auto query = turned(q[t].slice(0, head * d, head * d + d), t);
        std::vector<double> weight;
        double sum = 0;
        for (int64_t s = 0; s <= t; ++s) {
          const auto key = turned(k[s].slice(0, shared, shared + d), s);
          const double dot = query.dot(key).item<double>();
          weight.push_back(std::exp(dot / std::sqrt(static_cast<double>(d))));
          sum += weight.back();
        }
        for (int64_t s = 0; s <= t; ++s) {
          out[t].slice(0, head * d, head * d + d) +=
              v[s].slice(0, shared, shared + d) * (weight[s] / sum);
        }
      }
    }
    return linear(prefix + "o_proj", out);
  }

  TinyOptions options_;
  TensorMap weights_;
  Frequencies frequencies_;
};

void check_against_reference(const TinyOptions& options, const Frequencies& frequencies = {}) {
  const auto weights = test::tiny_weights(options);
  const auto model = make_model(test::tiny_config(options), weights);
  const auto tokens = test::tiny_tokens(9, 3);
  const auto got = model->logits(tokens.unsqueeze(0));
  CHECK(got.scalar_type() == at::kFloat);
  REQUIRE(got.sizes() == at::IntArrayRef({1, 9, 50}));
  require_close(got[0], Reference(options, weights, frequencies).logits(tokens), kFloatRounding,
                kFloatRounding);
}

}  // namespace

TEST_CASE("Llama: logits are those of the plain definition") {
  SECTION("own head") { check_against_reference({}); }
  SECTION("tied head") { check_against_reference({.tied = true}); }
  SECTION("biases") { check_against_reference({.bias = true}); }
  SECTION("heads wider than hidden / heads") { check_against_reference({.head_dim = 6}); }
  SECTION("heads narrower, tied, biased") {
    check_against_reference({.tied = true, .bias = true, .head_dim = 2});
  }
  SECTION("three blocks, other weights") { check_against_reference({.layers = 3, .seed = 5}); }
}

TEST_CASE("Llama: scaled rotary positions are those of their definitions") {
  SECTION("another base") {
    check_against_reference({.rope = R"(, "rope_theta": 100.0)"}, [](int64_t pair) {
      return std::pow(100.0, -static_cast<double>(pair) / 2.0);
    });
  }
  SECTION("linear") {
    check_against_reference({.rope = R"(, "rope_scaling": {"type": "linear", "factor": 4.0})"},
                            [](int64_t pair) { return std::pow(10000.0, -pair / 2.0) / 4.0; });
  }
  SECTION("llama3: short waves kept, long ones stretched, a ramp between") {
    // Wavelengths of the pairs: 6.3, 19.9, 62.8, ... positions; the ramp runs from 10 to 40.
    const auto frequency = [](int64_t pair) {
      const double plain = std::pow(10000.0, -pair / 8.0);
      const double wave = 2 * 3.141592653589793 / plain;
      if (wave < 10) return plain;
      if (wave > 40) return plain / 8.0;
      const double smooth = (40.0 / wave - 1.0) / (4.0 - 1.0);
      return (1 - smooth) * plain / 8.0 + smooth * plain;
    };
    check_against_reference(
        {.head_dim = 16,
         .rope = R"(, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "llama3",
                    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 40})"},
        frequency);
  }
}

TEST_CASE("Llama: stages in order are the forward pass") {
  const auto model = test::tiny_model();
  const auto tokens = test::tiny_tokens(7, 1).unsqueeze(0);
  BlockState state = model->begin(tokens);
  std::vector<std::string> names;
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto block = model->block(layer);
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      const auto x = block->input(stage, state);
      for (const auto& linear : block->linears(stage)) {
        names.push_back(linear.name);
        CHECK(linear.linear->weight().size(1) == x.size(-1));
      }
      block->apply(stage, x, state);
    }
  }
  CHECK(at::equal(model->head(state.hidden), model->logits(tokens)));
  CHECK(names == model->linear_names());
  CHECK(names.size() == 14);
  CHECK(names[0] == "model.layers.0.self_attn.q_proj");
  CHECK(names[13] == "model.layers.1.mlp.down_proj");
}

TEST_CASE("Llama: a later token changes no earlier logits") {
  const auto model = test::tiny_model();
  auto tokens = test::tiny_tokens(8, 2).unsqueeze(0);
  const auto before = model->logits(tokens).slice(1, 0, 7).clone();
  tokens[0][7] = (tokens[0][7] + 1) % 50;
  CHECK(at::equal(model->logits(tokens).slice(1, 0, 7), before));
}

TEST_CASE("Llama: a batch gives the logits of its rows") {
  const auto model = test::tiny_model();
  const auto tokens =
      at::stack({test::tiny_tokens(6, 1), test::tiny_tokens(6, 2), test::tiny_tokens(6, 3)});
  const auto batch = model->logits(tokens);
  for (int64_t row = 0; row < 3; ++row) {
    // Other kernels for other row counts: float32 rounding.
    require_close(batch[row], model->logits(tokens[row].unsqueeze(0))[0], kFloatRounding);
  }
}

TEST_CASE("Llama: tokens that the model has not are refused") {
  const auto model = test::tiny_model();
  const auto refused = [&](const torch::Tensor& tokens, const char* rule) {
    CHECK_THROWS_WITH(model->logits(tokens), Catch::Contains(rule));
    CHECK_THROWS_AS(model->logits(tokens), std::invalid_argument);
  };
  refused(at::full({1, 3}, 50, at::kLong), "token ids lie in [0, 50). Got 50");
  refused(at::full({1, 3}, -1, at::kLong), "token ids lie in [0, 50). Got -1");
  refused(at::zeros({1, 65}, at::kLong), "the model has 64 positions. Got 65 tokens");
  refused(at::zeros({3}, at::kLong), "[batch, length]. Got [3]");
  refused(at::zeros({1, 3}), "tokens are integers");
  refused(at::zeros({1, 0}, at::kLong), "there must be tokens");
  CHECK_NOTHROW(model->logits(at::zeros({1, 64}, at::kLong)));
}

TEST_CASE("Llama: missing, unexpected and misshaped tensors are named") {
  const std::string q = "model.layers.1.self_attn.q_proj.weight";
  TensorMap weights = test::tiny_weights();
  weights.erase(q);
  const auto make = [&] { make_model(test::tiny_config(), weights); };
  test::require_format_error(make, q, "asks for 1 tensors that the checkpoint lacks");
  weights = test::tiny_weights();
  weights["model.layers.2.mlp.up_proj.weight"] = at::zeros({24, 16});
  test::require_format_error(make, "model.layers.2.mlp.up_proj.weight", "does not ask for");
  weights = test::tiny_weights();
  weights[q] = at::zeros({16, 15});
  test::require_format_error(make, q, "asks for shape [16, 16]. Got [16, 15]");
  weights = test::tiny_weights();
  weights[q] = at::zeros({16, 16}, at::kInt);
  test::require_format_error(make, q, "float32, bfloat16 or float16. Got Int");
  weights = test::tiny_weights();
  weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::zeros({2});  // of old checkpoints
  CHECK_NOTHROW(make());
}

TEST_CASE("Llama: an unknown architecture lists the known ones") {
  std::string config = test::tiny_config();
  config.replace(config.find("LlamaForCausalLM"), 16, "MambaForCausalLM");
  CHECK_THROWS_WITH(make_model(config, test::tiny_weights()),
                    Catch::Contains("MambaForCausalLM") && Catch::Contains("LlamaForCausalLM"));
}

TEST_CASE("Llama: state_dict shares the model's memory and the fingerprint follows it") {
  const auto model = test::tiny_model();
  const std::string before = model->fingerprint();
  CHECK(before == test::tiny_model()->fingerprint());
  const auto tokens = test::tiny_tokens(4, 1).unsqueeze(0);
  const auto logits = model->logits(tokens);
  model->state_dict().at("model.layers.0.mlp.up_proj.weight").mul_(2.0);
  CHECK(model->fingerprint() != before);
  CHECK_FALSE(at::equal(model->logits(tokens), logits));
  CHECK(model->state_dict().size() == 3 + 2 * 9);
}

TEST_CASE("Llama: a bfloat16 model stays near its float32 twin") {
  TensorMap weights = test::tiny_weights();
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kBFloat16);
  const auto narrow = make_model(test::tiny_config(), weights);
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kFloat);
  const auto wide = make_model(test::tiny_config(), weights);
  const auto tokens = test::tiny_tokens(9, 3).unsqueeze(0);
  CHECK(narrow->logits(tokens).scalar_type() == at::kFloat);
  // bfloat16 keeps 8 bits: some 0.4 % an operation, over two blocks, on logits of size 1 to 10.
  require_close(narrow->logits(tokens), wide->logits(tokens), 0.15, 0.03);
}
