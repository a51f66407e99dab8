#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/registry.h"
#include "cupel/model/config.h"
#include "cupel/model/linear.h"

namespace cupel {

/// Keys and values of one block for the tokens so far, [batch, key_value_heads, length, head_dim].
struct KeyValues {
  torch::Tensor keys, values;
};

/// Attention over sequences that were packed into one (cupel/model/packed.h).
class PackedAttention {
 public:
  virtual ~PackedAttention() = default;
  /// Queries [heads, length, head_dim], keys and values [key_value_heads, length, head_dim], with
  /// their positions applied -> [length, heads * head_dim].
  virtual torch::Tensor attend(const torch::Tensor& queries, const torch::Tensor& keys,
                               const torch::Tensor& values) = 0;
};

/// What flows through a block while it runs stage by stage.
struct BlockState {
  torch::Tensor hidden;               ///< residual stream [batch, length, hidden]
  torch::Tensor carried;              ///< what a stage hands to the next one
  torch::Tensor cos, sin;             ///< rotary tables of these positions [length, head_dim]
  KeyValues* cache = nullptr;         ///< extended by the block when given
  PackedAttention* packed = nullptr;  ///< attends in the block's stead; batch is 1, no cache
};

/// A linear layer of a block under its Hugging Face name ("model.layers.0.self_attn.q_proj").
struct NamedLinear {
  std::string name;
  Linear* linear;
};

/// One decoder block, as a sequence of stages. The linears of a stage all read the same input, so
/// one InputStats serves them; a stage sees what earlier stages (compressed or not) made. Tokens
/// meet in stage 0 alone: the later ones treat each token by itself.
class Block {
 public:
  virtual ~Block() = default;
  virtual int64_t stages() const = 0;
  virtual std::vector<NamedLinear> linears(int64_t stage) = 0;
  /// The input of the stage's linears, [batch, length, in].
  virtual torch::Tensor input(int64_t stage, const BlockState& state) const = 0;
  /// Runs the stage's linears on `input` and moves `state` on.
  virtual void apply(int64_t stage, const torch::Tensor& input, BlockState& state) const = 0;
  /// Every tensor under its Hugging Face name.
  virtual std::vector<std::pair<std::string, torch::Tensor>> tensors() const = 0;

  /// All stages in order.
  void forward(BlockState& state) const;
};

/// Gives the tensor `name` of exactly `shape`, in the model's dtype and on its device.
using WeightSource =
    std::function<torch::Tensor(const std::string& name, torch::IntArrayRef shape)>;

/// How an architecture names and shapes its tensors, and how it builds a block.
struct Architecture {
  std::string embedding, final_norm, head;  ///< Hugging Face tensor names
  std::function<std::vector<std::pair<std::string, std::vector<int64_t>>>(const ModelConfig&,
                                                                          int64_t layer)>
      block_shapes;
  std::function<std::unique_ptr<Block>(const ModelConfig&, int64_t layer, const WeightSource&)>
      make_block;
};

/// Architectures by the name in config.json's "architectures"; add yours here.
Registry<Architecture>& architectures();

struct LoadOptions {
  std::string dtype = "auto";  ///< "auto" (as stored), "float32", "bfloat16" or "float16"
  std::string device = "cpu";
  bool lazy = false;  ///< read a block only when it is used
};

/// A runnable decoder-only language model.
class Model {
 public:
  Model(ModelConfig config, Architecture architecture, WeightSource source, torch::Dtype dtype,
        torch::Device device, bool lazy);

  const ModelConfig& config() const { return config_; }
  const Architecture& architecture() const { return architecture_; }
  torch::Dtype dtype() const { return dtype_; }
  torch::Device device() const { return device_; }
  int64_t layers() const { return config_.layers; }

  /// Block `layer`; a lazy model reads it anew unless it is kept.
  std::shared_ptr<Block> block(int64_t layer) const;
  /// Makes `block` the model's own block `layer` (what compression does to a lazy model).
  void keep_block(int64_t layer, std::shared_ptr<Block> block);

  /// Names of every linear layer inside the blocks, in model order; reads no weights.
  std::vector<std::string> linear_names() const;
  /// The same, each with the index of its block.
  std::vector<std::pair<std::string, int64_t>> linear_blocks() const;
  /// True when block `layer` is held in memory.
  bool holds_block(int64_t layer) const { return blocks_.at(layer) != nullptr; }

  /// The state before block 0 for tokens int64 [batch, length] at positions from `position`.
  BlockState begin(const torch::Tensor& tokens, int64_t position = 0) const;
  /// The same at stated positions, int64 [length], each below the model's.
  BlockState begin_at(const torch::Tensor& tokens, const torch::Tensor& positions) const;
  /// Final norm and head of hidden [..., hidden] -> float32 [..., vocabulary].
  /// With `infer`, by the fastest product there is: Linear::infer().
  torch::Tensor head(const torch::Tensor& hidden, bool infer = false) const;
  /// Residual stream after the last block, [batch, length, hidden]. `cache` (one entry a block)
  /// holds the tokens before and is extended.
  torch::Tensor hidden(const torch::Tensor& tokens, std::vector<KeyValues>* cache = nullptr) const;
  /// Next-token logits: int64 [batch, length] -> float32 [batch, length, vocabulary]. Throws
  /// std::invalid_argument for ids outside the vocabulary and for more positions than the model has.
  torch::Tensor logits(const torch::Tensor& tokens) const;

  /// Every tensor of the model under its Hugging Face name, with its shape; reads no weights.
  std::map<std::string, std::vector<int64_t>> tensor_shapes() const;
  /// The tensors outside the blocks: embedding, final norm and, unless tied, the head.
  TensorMap outer_tensors() const;
  /// Hugging Face tensor name -> tensor (shared memory, except unread blocks of a lazy model).
  TensorMap state_dict() const;
  /// SHA-256 over names, shapes, dtypes and bytes of every weight as they are now.
  std::string fingerprint() const;

  /// The checkpoint that the model was read from, or null.
  std::shared_ptr<const CheckpointReader> source() const { return reader_; }
  void set_source(std::shared_ptr<const CheckpointReader> reader) { reader_ = std::move(reader); }

  /// JSON object that save_model() writes into cupel.json (set by compress()); "" when untouched.
  const std::string& record() const { return record_; }
  void set_record(std::string record) { record_ = std::move(record); }

 private:
  ModelConfig config_;
  Architecture architecture_;
  WeightSource weights_;
  torch::Dtype dtype_;
  torch::Device device_;
  torch::Tensor embedding_, norm_, head_, inv_freq_;
  mutable std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<const CheckpointReader> reader_;
  std::string record_;
};

/// Loads a Hugging Face model folder. Every tensor that the config asks for must be there with its
/// shape, and no other (rotary inv_freq buffers apart), checked from the headers before any weight
/// is read. Throws FormatError, std::invalid_argument for an unknown dtype.
///
/// Folders of the format "pack-quantized" of compressed-tensors (4 and 8 bits) are read as well:
/// the weights become (code - zero) * scale in float32, cast to the model's dtype, and the linears
/// keep their codes.
std::unique_ptr<Model> load_model(const std::string& dir, const LoadOptions& options = {});

/// A model from config.json text and a state dict in memory (float tensors, Hugging Face names).
std::unique_ptr<Model> make_model(const std::string& config_text, const TensorMap& state_dict);

struct SaveOptions {
  /// "dense": the weights as they are, zeros included. "pack-quantized": linears that hold codes of
  /// 4 or 8 bits as compressed-tensors stores them, everything else dense.
  std::string format = "dense";
};

/// Writes the model as a Hugging Face folder: same dtypes, ties and sharding as its source, every
/// other file of the source folder (tokenizer, generation_config, chat template) and cupel.json
/// (what was done, SHA-256 of each tensor). Nothing becomes visible before every weight file is
/// complete. std::invalid_argument when `dir` already holds weight files that this one would
/// not replace.
///
/// "pack-quantized" gives back every weight bit for bit or is refused, before anything is written:
/// std::invalid_argument naming the layer for codes of other bits, a group that does not divide the
/// columns, columns not grouped in order, scales that the model's dtype would round, and for a
/// model without any quantized layer.
void save_model(const Model& model, const std::string& dir, const SaveOptions& options = {});

}  // namespace cupel
