#include "cupel/eval/token_model.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"
#include "cupel/model/model.h"

namespace cupel {

namespace {

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

void check_wanted(const std::vector<int64_t>& tokens, const std::vector<int64_t>& wanted) {
  for (const int64_t position : wanted) {
    check(position >= 0 && position < static_cast<int64_t>(tokens.size()), "TokenModel",
          "wanted positions lie in [0, ", tokens.size(), "). Got ", position, ".");
  }
}

class NativeState : public TokenModel::State {
 public:
  int64_t length() const override { return cache.empty() ? 0 : cache.front().keys.size(2); }
  std::vector<KeyValues> cache;
};

std::vector<KeyValues> cache_of(const std::shared_ptr<const TokenModel::State>& state) {
  if (!state) return {};
  const auto* native = dynamic_cast<const NativeState*>(state.get());
  check(native != nullptr, "NativeTokenModel", "the state comes from another model.");
  return native->cache;  // tensors are shared; the model concatenates instead of writing to them
}

}  // namespace

std::shared_ptr<const TokenModel::State> TokenModel::prefill(const std::vector<int64_t>&,
                                                             const std::shared_ptr<const State>&) {
  throw std::invalid_argument("[TokenModel] this model keeps no states.");
}

torch::Tensor TokenModel::batch_logits(const std::vector<std::vector<int64_t>>& sequences,
                                       const std::vector<std::vector<int64_t>>& wanted) {
  check(!sequences.empty() && sequences.size() == wanted.size(), "TokenModel",
        "each sequence has its wanted positions. Got ", sequences.size(), " and ", wanted.size(),
        ".");
  std::vector<torch::Tensor> rows;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    rows.push_back(logits(sequences[i], wanted[i]));
  }
  return at::cat(rows);
}

TokenModelInfo NativeTokenModel::info() const {
  return {.vocabulary = model_.config().vocabulary,
          .max_length = model_.config().max_positions,
          .device = model_.device().str(),
          .dtype = c10::str(model_.dtype()),
          .fingerprint = model_.fingerprint(),
          .has_states = true};
}

std::shared_ptr<const TokenModel::State> NativeTokenModel::prefill(
    const std::vector<int64_t>& tokens, const std::shared_ptr<const State>& parent) {
  auto state = std::make_shared<NativeState>();
  state->cache = cache_of(parent);
  model_.hidden(as_tensor(tokens).unsqueeze(0), &state->cache);
  return state;
}

torch::Tensor NativeTokenModel::logits(const std::vector<int64_t>& tokens,
                                       const std::vector<int64_t>& wanted,
                                       const std::shared_ptr<const State>& state) {
  check_wanted(tokens, wanted);
  auto cache = cache_of(state);
  const auto hidden = model_.hidden(as_tensor(tokens).unsqueeze(0), state ? &cache : nullptr);
  return model_.head(hidden[0].index_select(0, as_tensor(wanted).to(hidden.device())));
}

torch::Tensor NativeTokenModel::batch_logits(const std::vector<std::vector<int64_t>>& sequences,
                                             const std::vector<std::vector<int64_t>>& wanted) {
  bool one_length = sequences.size() == wanted.size() && !sequences.empty();
  for (const auto& sequence : sequences) {
    one_length = one_length && sequence.size() == sequences.front().size();
  }
  if (!one_length) return TokenModel::batch_logits(sequences, wanted);
  std::vector<torch::Tensor> tokens;
  std::vector<int64_t> rows;
  const auto length = static_cast<int64_t>(sequences.front().size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    check_wanted(sequences[i], wanted[i]);
    tokens.push_back(as_tensor(sequences[i]));
    for (const int64_t position : wanted[i]) {
      rows.push_back(static_cast<int64_t>(i) * length + position);
    }
  }
  const auto hidden = model_.hidden(at::stack(tokens)).flatten(0, 1);
  return model_.head(hidden.index_select(0, as_tensor(rows).to(hidden.device())));
}

CallableTokenModel::CallableTokenModel(Function function, TokenModelInfo info)
    : function_(std::move(function)), info_(std::move(info)) {
  check(static_cast<bool>(function_), "CallableTokenModel", "a function is needed.");
  check(info_.vocabulary >= 1 && info_.max_length >= 1, "CallableTokenModel",
        "vocabulary and max_length are at least 1. Got ", info_.vocabulary, " and ",
        info_.max_length, ".");
  info_.has_states = false;
}

torch::Tensor CallableTokenModel::logits(const std::vector<int64_t>& tokens,
                                         const std::vector<int64_t>& wanted,
                                         const std::shared_ptr<const State>& state) {
  check(!state, "CallableTokenModel", "this model keeps no states.");
  check_wanted(tokens, wanted);
  auto logits = function_(as_tensor(tokens).unsqueeze(0));
  check(logits.defined(), "CallableTokenModel", "the function must return logits.");
  if (logits.dim() == 3 && logits.size(0) == 1) logits = logits[0];
  check(logits.dim() == 2 && logits.size(0) == static_cast<int64_t>(tokens.size()) &&
            logits.size(1) == info_.vocabulary,
        "CallableTokenModel", "logits are [", tokens.size(), ", ", info_.vocabulary, "]. Got ",
        logits.sizes(), ".");
  return logits.detach().index_select(0, as_tensor(wanted).to(logits.device())).to(at::kFloat);
}

}  // namespace cupel
