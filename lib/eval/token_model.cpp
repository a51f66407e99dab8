#include "cupel/eval/token_model.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"

namespace cupel {

namespace {

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

}  // namespace

torch::Tensor TokenModel::decode(const std::vector<int64_t>& ids, std::vector<StatePtr>& states) {
  check(ids.size() == states.size(), "TokenModel", "each state gets one token. Got ", ids.size(),
        " tokens for ", states.size(), " states.");
  std::vector<Row> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) rows.push_back({{ids[i]}, {}, states[i]});
  torch::Tensor logits;
  states = TokenModel::prefill_each(rows, logits);
  return logits;
}

std::vector<TokenModel::StatePtr> TokenModel::prefill_each(const std::vector<Row>& rows,
                                                           torch::Tensor& logits) {
  std::vector<StatePtr> states;
  std::vector<torch::Tensor> pieces;
  for (const auto& row : rows) {
    const auto last = static_cast<int64_t>(row.tokens.size()) - 1;
    const auto kept =
        run({{row.tokens, {last}, row.state, true}},
            [&](int64_t, const torch::Tensor& piece) { pieces.push_back(piece.clone()); });
    states.push_back(kept.at(0));
  }
  logits = at::cat(pieces);
  return states;
}

TokenModel::StatePtr TokenModel::prefill(const std::vector<int64_t>& tokens,
                                         const StatePtr& parent) {
  return run({{tokens, {}, parent, true}}, [](int64_t, const torch::Tensor&) {}).at(0);
}

torch::Tensor TokenModel::logits(const std::vector<int64_t>& tokens,
                                 const std::vector<int64_t>& wanted, const StatePtr& state) {
  return logits({Row{tokens, wanted, state}});
}

torch::Tensor TokenModel::logits(const std::vector<Row>& rows) {
  std::vector<torch::Tensor> pieces;
  run(rows, [&](int64_t, const torch::Tensor& piece) { pieces.push_back(piece.clone()); });
  check(!pieces.empty(), "TokenModel", "logits needs a wanted position.");
  return at::cat(pieces);
}

CallableTokenModel::CallableTokenModel(Function function, TokenModelInfo info)
    : function_(std::move(function)), info_(std::move(info)) {
  check(static_cast<bool>(function_), "CallableTokenModel", "a function is needed.");
  check(info_.vocabulary >= 1 && info_.max_length >= 1, "CallableTokenModel",
        "vocabulary and max_length are at least 1. Got ", info_.vocabulary, " and ",
        info_.max_length, ".");
  info_.has_states = false;
}

std::vector<TokenModel::StatePtr> CallableTokenModel::run(const std::vector<Row>& rows,
                                                          const LogitSink& sink) {
  int64_t first = 0;
  for (const auto& [tokens, wanted, state, keep] : rows) {
    check(!state && !keep, "CallableTokenModel", "this model keeps no states.");
    const auto length = static_cast<int64_t>(tokens.size());
    for (const int64_t position : wanted) {
      check(position >= 0 && position < length, "TokenModel", "wanted positions lie in [0, ",
            length, "). Got ", position, ".");
    }
    const at::NoGradGuard no_grad;
    auto logits = function_(as_tensor(tokens).unsqueeze(0));
    check(logits.defined(), "CallableTokenModel", "the function must return logits.");
    if (logits.dim() == 3 && logits.size(0) == 1) logits = logits[0];
    check(logits.dim() == 2 && logits.size(0) == length && logits.size(1) == info_.vocabulary,
          "CallableTokenModel", "logits are [", length, ", ", info_.vocabulary, "]. Got ",
          logits.sizes(), ".");
    if (wanted.empty()) continue;
    sink(first,
         logits.detach().index_select(0, as_tensor(wanted).to(logits.device())).to(at::kFloat));
    first += static_cast<int64_t>(wanted.size());
  }
  return std::vector<StatePtr>(rows.size());
}

}  // namespace cupel
