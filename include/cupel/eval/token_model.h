#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cupel {

class Model;

/// What a token model says of itself; goes into every result.
struct TokenModelInfo {
  int64_t vocabulary = 0;
  int64_t max_length = 0;  ///< most tokens of one sequence, state included
  std::string device = "", dtype = "";
  std::string fingerprint = "";  ///< SHA-256 of the weights as they are now; "" when unknown
  bool has_states = false;       ///< prefill() works; without it shared prefixes are recomputed
};

/// Tokens -> next-token logits: what an evaluation needs of a model.
class TokenModel {
 public:
  /// Tokens already run, to be continued (keys and values, or whatever the model keeps).
  class State {
   public:
    virtual ~State() = default;
    virtual int64_t length() const = 0;  ///< tokens it holds
  };

  virtual ~TokenModel() = default;
  virtual TokenModelInfo info() const = 0;

  /// Runs `tokens` after `parent` (null = from the start). A model without states throws
  /// std::invalid_argument.
  virtual std::shared_ptr<const State> prefill(const std::vector<int64_t>& tokens,
                                               const std::shared_ptr<const State>& parent = {});

  /// Next-token logits at the `wanted` positions of `tokens` (counted in `tokens`), in order:
  /// float32 [wanted, vocabulary]. `state` holds the tokens before.
  virtual torch::Tensor logits(const std::vector<int64_t>& tokens,
                               const std::vector<int64_t>& wanted,
                               const std::shared_ptr<const State>& state = {}) = 0;

  /// The same for several sequences without states: the wanted rows of all of them, in order,
  /// float32 [sum of wanted, vocabulary]. Sequences of one length are what a model can batch.
  virtual torch::Tensor batch_logits(const std::vector<std::vector<int64_t>>& sequences,
                                     const std::vector<std::vector<int64_t>>& wanted);
};

/// cupel's own decoder as a token model. The model must outlive it.
class NativeTokenModel : public TokenModel {
 public:
  explicit NativeTokenModel(const Model& model) : model_(model) {}
  TokenModelInfo info() const override;
  std::shared_ptr<const State> prefill(const std::vector<int64_t>& tokens,
                                       const std::shared_ptr<const State>& parent = {}) override;
  torch::Tensor logits(const std::vector<int64_t>& tokens, const std::vector<int64_t>& wanted,
                       const std::shared_ptr<const State>& state = {}) override;
  torch::Tensor batch_logits(const std::vector<std::vector<int64_t>>& sequences,
                             const std::vector<std::vector<int64_t>>& wanted) override;

 private:
  const Model& model_;
};

/// Any function int64 [1, length] -> logits [1, length, vocabulary] (or [length, vocabulary]) as a
/// token model without states.
class CallableTokenModel : public TokenModel {
 public:
  using Function = std::function<torch::Tensor(const torch::Tensor& tokens)>;
  CallableTokenModel(Function function, TokenModelInfo info);
  TokenModelInfo info() const override { return info_; }
  torch::Tensor logits(const std::vector<int64_t>& tokens, const std::vector<int64_t>& wanted,
                       const std::shared_ptr<const State>& state = {}) override;

 private:
  Function function_;
  TokenModelInfo info_;
};

}  // namespace cupel
