#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/eval/token_model.h"
#include "cupel/model/model.h"
#include "cupel/model/packed.h"
#include "model/dtype_name.h"

namespace cupel {

namespace {

// Memory for one piece of logits, and the rows below which products get slow.
constexpr int64_t kLogitBytes = int64_t{4} << 20, kLeastRows = 64;

using Cached = std::shared_ptr<const CachedTokens>;

struct NativeState : TokenModel::State {
  explicit NativeState(Cached cached) : tokens(std::move(cached)) {}
  int64_t length() const override { return tokens->length; }
  Cached tokens;
};

// What decode() makes: memory of its own that the next decode() goes on in.
struct GrowingState : TokenModel::State {
  explicit GrowingState(const CachedTokens& cached) : tokens(cached) {}
  int64_t length() const override { return tokens.length; }
  GrowingTokens tokens;
};

Cached cached_tokens(const TokenModel::StatePtr& state) {
  if (!state) return nullptr;
  if (const auto* native = dynamic_cast<const NativeState*>(state.get())) return native->tokens;
  const auto* growing = dynamic_cast<const GrowingState*>(state.get());
  check(growing != nullptr, "NativeTokenModel", "the state comes from another model.");
  return growing->tokens.cached();
}

// Fills tokens and wanted positions up to a multiple of kAlikeRows by sequences of no meaning.
void fill_up(std::vector<PackedSequence>& sequences, int64_t most) {
  int64_t tokens = 0;
  for (const auto& sequence : sequences) tokens += static_cast<int64_t>(sequence.tokens.size());
  const auto short_of = [](int64_t count) {
    return (kAlikeRows - count % kAlikeRows) % kAlikeRows;
  };
  int64_t wanted = short_of(static_cast<int64_t>(sequences.size()));
  int64_t fill = short_of(tokens);
  if (fill < wanted) fill += kAlikeRows;
  while (fill > 0) {
    const int64_t size = std::min(fill, most);
    PackedSequence filler{std::vector<int64_t>(static_cast<std::size_t>(size), 0)};
    for (int64_t i = 0; i < std::min(size, wanted); ++i) filler.wanted.push_back(i);
    wanted -= static_cast<int64_t>(filler.wanted.size());
    fill -= size;
    sequences.push_back(std::move(filler));
  }
}

}  // namespace

TokenModelInfo NativeTokenModel::info() const {
  const auto& config = model_.config();
  return {.vocabulary = config.vocabulary,
          .max_length = config.max_positions,
          .device = model_.device().str(),
          .dtype = dtype_name(model_.dtype()),
          .fingerprint = model_.fingerprint(),
          .has_states = true,
          .state_bytes = 2 * config.layers * config.key_value_heads * config.head_dim *
                         static_cast<int64_t>(c10::elementSize(model_.dtype()))};
}

std::vector<TokenModel::StatePtr> NativeTokenModel::run(const std::vector<Row>& rows,
                                                        const LogitSink& sink) {
  std::vector<PackedSequence> sequences;
  for (const auto& [tokens, wanted, state, keep] : rows) {
    sequences.push_back({tokens, wanted, cached_tokens(state), keep});
  }
  const PackedHidden made = run_packed(model_, sequences);
  const int64_t row_bytes = model_.config().vocabulary * static_cast<int64_t>(sizeof(float));
  const int64_t piece = std::max(kLeastRows, kLogitBytes / row_bytes);
  for (int64_t first = 0; first < made.hidden.size(0); first += piece) {
    const int64_t end = std::min(first + piece, made.hidden.size(0));
    sink(first, model_.head(made.hidden.slice(0, first, end), true));
  }
  std::vector<StatePtr> states;
  for (const auto& cached : made.cached) {
    states.push_back(cached ? std::make_shared<NativeState>(cached) : nullptr);
  }
  return states;
}

torch::Tensor NativeTokenModel::decode(const std::vector<int64_t>& ids,
                                       std::vector<StatePtr>& states) {
  check(!ids.empty() && ids.size() == states.size(), "TokenModel",
        "each state gets one token. Got ", ids.size(), " tokens for ", states.size(), " states.");
  std::vector<GrowingTokens*> sequences;
  for (auto& state : states) {
    check(state != nullptr, "TokenModel", "decode goes on from a state.");
    auto growing =
        std::const_pointer_cast<GrowingState>(std::dynamic_pointer_cast<const GrowingState>(state));
    // In place only where nobody else holds the state: `state` and `growing` are the two.
    if (!growing || growing.use_count() > 2) {
      growing = std::make_shared<GrowingState>(*cached_tokens(state));
      state = growing;
    }
    sequences.push_back(&growing->tokens);
  }
  const auto hidden = run_step(model_, ids, sequences);
  return model_.head(hidden, true).narrow(0, 0, static_cast<int64_t>(ids.size()));
}

std::vector<TokenModel::StatePtr> NativeTokenModel::prefill_each(const std::vector<Row>& rows,
                                                                 torch::Tensor& logits) {
  std::vector<StatePtr> states(rows.size());
  std::vector<torch::Tensor> parts(rows.size());
  std::vector<PackedSequence> sequences;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (row.state) {
      // Rows behind one state would attend to it together, which rounds by who they are.
      states[i] = TokenModel::prefill_each({row}, parts[i]).at(0);
      continue;
    }
    const auto last = static_cast<int64_t>(row.tokens.size()) - 1;
    sequences.push_back({row.tokens, {last}, nullptr, true});
    places.push_back(i);
  }
  if (!places.empty()) {
    fill_up(sequences, model_.config().max_positions);
    const PackedHidden made = run_packed(model_, sequences);
    const auto together = model_.head(made.hidden, true);
    for (std::size_t i = 0; i < places.size(); ++i) {
      states[places[i]] = std::make_shared<NativeState>(made.cached[i]);
      parts[places[i]] = together.narrow(0, static_cast<int64_t>(i), 1);
    }
  }
  logits = at::cat(parts);
  return states;
}

}  // namespace cupel
