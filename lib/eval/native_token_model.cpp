#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"
#include "cupel/eval/token_model.h"
#include "cupel/model/model.h"

namespace cupel {

namespace {

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

class NativeState : public TokenModel::State {
 public:
  int64_t length() const override { return cache.empty() ? 0 : cache.front().keys.size(2); }
  std::vector<KeyValues> cache;
};

std::vector<KeyValues> cache_of(const TokenModel::StatePtr& state) {
  if (!state) return {};
  const auto* native = dynamic_cast<const NativeState*>(state.get());
  check(native != nullptr, "NativeTokenModel", "the state comes from another model.");
  return native->cache;
}

}  // namespace

TokenModelInfo NativeTokenModel::info() const {
  return {.vocabulary = model_.config().vocabulary,
          .max_length = model_.config().max_positions,
          .device = model_.device().str(),
          .dtype = c10::str(model_.dtype()),
          .fingerprint = model_.fingerprint(),
          .has_states = true};
}

std::vector<TokenModel::StatePtr> NativeTokenModel::run(const std::vector<Row>& rows,
                                                        const LogitSink& sink) {
  std::vector<StatePtr> states;
  int64_t first = 0;
  for (const auto& [tokens, wanted, state, keep] : rows) {
    for (const int64_t position : wanted) {
      check(position >= 0 && position < static_cast<int64_t>(tokens.size()), "TokenModel",
            "wanted positions lie in [0, ", tokens.size(), "). Got ", position, ".");
    }
    auto kept = std::make_shared<NativeState>();
    kept->cache = cache_of(state);
    const auto hidden =
        model_.hidden(as_tensor(tokens).unsqueeze(0), state || keep ? &kept->cache : nullptr);
    states.push_back(keep ? kept : nullptr);
    if (wanted.empty()) continue;
    sink(first, model_.head(hidden[0].index_select(0, as_tensor(wanted).to(hidden.device()))));
    first += static_cast<int64_t>(wanted.size());
  }
  return states;
}

torch::Tensor NativeTokenModel::decode(const std::vector<int64_t>& ids,
                                       std::vector<StatePtr>& states) {
  return TokenModel::decode(ids, states);
}

}  // namespace cupel
