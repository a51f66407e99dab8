#include "cupel/model/model.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>
#include <torch/types.h>

#include <cmath>
#include <numbers>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "model/block_linear_names.h"
#include "model/fast_linear.h"
#include "model/rms_norm.h"
#include "model/row_kernels.h"

namespace cupel {

namespace {

// Inverse frequencies [head_dim / 2], float32, in transformers' operation order.
torch::Tensor inverse_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const auto steps = at::arange(0, config.head_dim, 2, at::kLong).to(at::kFloat);
  auto inv = 1.0 / at::pow(rope.theta, steps / static_cast<double>(config.head_dim));
  if (rope.type == "linear") return inv / rope.factor;
  if (rope.type != "llama3") return inv;
  // Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, a ramp between.
  const double low = rope.original_positions / rope.low_freq_factor;
  const double high = rope.original_positions / rope.high_freq_factor;
  const auto wavelength = 2.0 * std::numbers::pi / inv;
  const auto stretched = at::where(wavelength > low, inv / rope.factor, inv);
  const auto smooth =
      (static_cast<double>(rope.original_positions) / wavelength - rope.low_freq_factor) /
      (rope.high_freq_factor - rope.low_freq_factor);
  const auto ramp = (1.0 - smooth) * stretched / rope.factor + smooth * stretched;
  const auto between = at::logical_and(wavelength >= high, wavelength <= low);
  return at::where(between, ramp, stretched);
}

}  // namespace

std::vector<std::string> block_linear_names(const Architecture& architecture,
                                            const ModelConfig& config, int64_t layer) {
  const WeightSource shapes_only = [](const std::string&, torch::IntArrayRef shape) {
    return at::empty(shape, at::TensorOptions().device(at::kMeta));
  };
  const auto block = architecture.make_block(config, layer, shapes_only);
  std::vector<std::string> names;
  for (int64_t stage = 0; stage < block->stages(); ++stage) {
    for (const auto& linear : block->linears(stage)) names.push_back(linear.name);
  }
  return names;
}

void Block::forward(BlockState& state) const {
  for (int64_t stage = 0; stage < stages(); ++stage) apply(stage, input(stage, state), state);
}

Model::Model(ModelConfig config, Architecture architecture, WeightSource source, torch::Dtype dtype,
             torch::Device device, bool lazy)
    : config_(std::move(config)),
      architecture_(std::move(architecture)),
      weights_(std::move(source)),
      dtype_(dtype),
      device_(device),
      blocks_(config_.layers) {
  const at::NoGradGuard no_grad;
  embedding_ = weights_(architecture_.embedding, {config_.vocabulary, config_.hidden});
  norm_ = weights_(architecture_.final_norm, {config_.hidden});
  head_ = config_.tied_embeddings
              ? embedding_
              : weights_(architecture_.head, {config_.vocabulary, config_.hidden});
  inv_freq_ = inverse_frequencies(config_).to(device_);
  if (!lazy) {
    for (int64_t layer = 0; layer < layers(); ++layer) keep_block(layer, block(layer));
  }
}

std::shared_ptr<Block> Model::block(int64_t layer) const {
  check(layer >= 0 && layer < layers(), "Model", "a block index lies in [0, ", layers(), "). Got ",
        layer, ".");
  if (blocks_[layer]) return blocks_[layer];
  const at::NoGradGuard no_grad;
  return architecture_.make_block(config_, layer, weights_);
}

void Model::keep_block(int64_t layer, std::shared_ptr<Block> block) {
  check(layer >= 0 && layer < layers(), "Model", "a block index lies in [0, ", layers(), "). Got ",
        layer, ".");
  blocks_[layer] = std::move(block);
}

std::vector<std::string> Model::linear_names() const {
  std::vector<std::string> names;
  for (auto& [name, layer] : linear_blocks()) names.push_back(std::move(name));
  return names;
}

std::vector<std::pair<std::string, int64_t>> Model::linear_blocks() const {
  std::vector<std::pair<std::string, int64_t>> names;
  for (int64_t layer = 0; layer < layers(); ++layer) {
    for (auto& name : block_linear_names(architecture_, config_, layer)) {
      names.emplace_back(std::move(name), layer);
    }
  }
  return names;
}

BlockState Model::begin(const torch::Tensor& tokens, int64_t position) const {
  check(tokens.dim() == 2, "Model", "tokens are [batch, length]. Got ", tokens.sizes(), ".");
  const int64_t length = tokens.size(1);
  check(position + length <= config_.max_positions, "Model", "the model has ",
        config_.max_positions, " positions. Got ", position + length, " tokens.");
  return begin_at(tokens, at::arange(position, position + length, at::kLong));
}

BlockState Model::begin_at(const torch::Tensor& tokens, const torch::Tensor& positions) const {
  const char* here = "Model";
  const at::NoGradGuard no_grad;
  check(at::isIntegralType(tokens.scalar_type(), false), here, "tokens are integers. Got ",
        tokens.scalar_type(), ".");
  check(tokens.numel() > 0, here, "there must be tokens. Got ", tokens.sizes(), ".");
  const auto ids = tokens.to(device_, at::kLong);
  const int64_t low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
  check(low >= 0 && high < config_.vocabulary, here, "token ids lie in [0, ", config_.vocabulary,
        "). Got ", low < 0 ? low : high, ".");
  BlockState state;
  state.hidden = at::embedding(embedding_, ids);
  const auto angles = at::outer(positions.to(inv_freq_.options()), inv_freq_);
  const auto table = at::cat({angles, angles}, -1);
  state.cos = table.cos().to(dtype_);
  state.sin = table.sin().to(dtype_);
  return state;
}

torch::Tensor Model::head(const torch::Tensor& hidden, bool infer) const {
  const at::NoGradGuard no_grad;
  const double eps = config_.rms_norm_eps;
  const auto logits = infer ? fast_linear(fused_rms_norm(hidden, norm_, eps), head_, {})
                            : any_linear(rms_norm(hidden, norm_, eps), head_, {});
  return logits.to(at::kFloat);
}

torch::Tensor Model::hidden(const torch::Tensor& tokens, std::vector<KeyValues>* cache) const {
  const at::NoGradGuard no_grad;
  int64_t position = 0;
  if (cache) {
    cache->resize(layers());
    if (cache->front().keys.defined()) position = cache->front().keys.size(2);
  }
  BlockState state = begin(tokens, position);
  for (int64_t layer = 0; layer < layers(); ++layer) {
    state.cache = cache ? &(*cache)[layer] : nullptr;
    block(layer)->forward(state);
  }
  return state.hidden;
}

torch::Tensor Model::logits(const torch::Tensor& tokens) const { return head(hidden(tokens)); }

std::map<std::string, std::vector<int64_t>> Model::tensor_shapes() const {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, tensor] : outer_tensors()) shapes[name] = tensor.sizes().vec();
  for (int64_t layer = 0; layer < layers(); ++layer) {
    for (auto& [name, shape] : architecture_.block_shapes(config_, layer)) shapes[name] = shape;
  }
  return shapes;
}

TensorMap Model::outer_tensors() const {
  TensorMap outer{{architecture_.embedding, embedding_}, {architecture_.final_norm, norm_}};
  if (!config_.tied_embeddings) outer.emplace(architecture_.head, head_);
  return outer;
}

TensorMap Model::state_dict() const {
  TensorMap all = outer_tensors();
  for (int64_t layer = 0; layer < layers(); ++layer) {
    for (auto& [name, tensor] : block(layer)->tensors()) all.emplace(name, tensor);
  }
  return all;
}

std::string Model::fingerprint() const {
  Sha256 hash;
  const auto add = [&](const std::string& name, const torch::Tensor& tensor) {
    hash.update(c10::str(name, "|", tensor.scalar_type(), "|", tensor.sizes(), "|"));
    const auto bytes = tensor.detach().cpu().contiguous();
    hash.update(bytes.const_data_ptr(), bytes.nbytes());
  };
  for (const auto& [name, tensor] : outer_tensors()) add(name, tensor);
  for (int64_t layer = 0; layer < layers(); ++layer) {  // a lazy model: one block at a time
    for (const auto& [name, tensor] : block(layer)->tensors()) add(name, tensor);
  }
  return hash.hex();
}

}  // namespace cupel
