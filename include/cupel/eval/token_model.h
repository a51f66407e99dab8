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
  bool has_states = false;       ///< rows may have states; without, shared prefixes run again
  int64_t state_bytes = 0;       ///< memory of one token in a state; 0 when unknown
};

/// Tokens -> next-token logits: what an evaluation needs of a model.
class TokenModel {
 public:
  /// Tokens already run, to be continued (keys and values, or whatever the model keeps).
  class State {
   public:
    virtual ~State() = default;
    virtual int64_t length() const = 0;  ///< tokens it stands for
  };
  using StatePtr = std::shared_ptr<const State>;

  /// One sequence of a run.
  struct Row {
    std::vector<int64_t> tokens;  ///< at least one
    std::vector<int64_t> wanted =
        {};               ///< positions in `tokens`, ascending, whose logits are wanted
    StatePtr state = {};  ///< the tokens before; null = none
    bool keep = false;    ///< hand back the state behind this row's last token
  };

  /// Takes logits float32 [n, vocabulary] of the wanted positions `first` .. `first + n - 1`,
  /// counted through the rows of a run in order.
  using LogitSink = std::function<void(int64_t first, const torch::Tensor& logits)>;

  virtual ~TokenModel() = default;
  /// Costs a pass over the weights where there is a fingerprint.
  virtual TokenModelInfo info() const = 0;

  /// Runs `rows` together. The logits of their wanted positions reach `sink` in order and in
  /// pieces, so that their memory does not grow with the run. Returns a state for each row that
  /// keeps one, null for the others. A model without states gets rows without them.
  virtual std::vector<StatePtr> run(const std::vector<Row>& rows, const LogitSink& sink) = 0;

  /// One token after each of `states`: logits float32 [ids, vocabulary], and `states` moves on. A
  /// row's logits are the same bytes whatever the other rows are, how many, and in what order. By
  /// default each row is a run of its own.
  virtual torch::Tensor decode(const std::vector<int64_t>& ids, std::vector<StatePtr>& states);

  /// Runs `rows` whole, which begin texts that decode() goes on with: each row's state, and the
  /// logits of its last token in `logits`, float32 [rows, vocabulary]. `wanted` and `keep` are not
  /// looked at. As in decode(), a row's state and logits are the same bytes whatever the other rows
  /// are. By default each row is a run of its own.
  virtual std::vector<StatePtr> prefill_each(const std::vector<Row>& rows, torch::Tensor& logits);

  /// The state behind `tokens` after `parent` (null = from the start).
  StatePtr prefill(const std::vector<int64_t>& tokens, const StatePtr& parent = {});
  /// Logits at the `wanted` positions of `tokens`, float32 [wanted, vocabulary].
  torch::Tensor logits(const std::vector<int64_t>& tokens, const std::vector<int64_t>& wanted,
                       const StatePtr& state = {});
  /// Every wanted row of a run at once, float32 [wanted, vocabulary].
  torch::Tensor logits(const std::vector<Row>& rows);
};

/// cupel's own decoder as a token model. The rows of a run are packed without padding, and those
/// with a common state attend to it together. The model must outlive it.
class NativeTokenModel : public TokenModel {
 public:
  explicit NativeTokenModel(const Model& model) : model_(model) {}
  TokenModelInfo info() const override;
  std::vector<StatePtr> run(const std::vector<Row>& rows, const LogitSink& sink) override;
  torch::Tensor decode(const std::vector<int64_t>& ids, std::vector<StatePtr>& states) override;
  std::vector<StatePtr> prefill_each(const std::vector<Row>& rows, torch::Tensor& logits) override;

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
  std::vector<StatePtr> run(const std::vector<Row>& rows, const LogitSink& sink) override;

 private:
  Function function_;
  TokenModelInfo info_;
};

}  // namespace cupel
