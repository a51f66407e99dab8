#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"
#include "cupel/core/parallel.h"
#include "cupel/model/packed.h"
#include "model/attention_parts.h"
#include "model/step_attention.h"

namespace cupel {

namespace {

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

// Memory for twice the tokens, so that growing costs one copy a token in the end.
void make_room(GrowingTokens& tokens) {
  const int64_t capacity = tokens.layers.front().keys.size(1);
  if (tokens.length < capacity) return;
  for (auto& layer : tokens.layers) {
    for (auto* x : {&layer.keys, &layer.values}) {
      auto larger = at::empty({x->size(0), 2 * capacity, x->size(2)}, x->options());
      larger.narrow(1, 0, capacity).copy_(*x);
      *x = larger;
    }
  }
}

// Each row is the newest token of a sequence and attends to that sequence alone.
class StepAttention : public PackedAttention {
 public:
  explicit StepAttention(const std::vector<GrowingTokens*>& sequences) : sequences_(sequences) {}

  torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    auto out = at::zeros({q.size(1), q.size(0), q.size(2)}, q.options());
    if (can_attend_newest(q)) {
      attend_rows(q.transpose(0, 1).contiguous(), k.transpose(0, 1).contiguous(),
                  v.transpose(0, 1).contiguous(), out);
      return out.flatten(1);
    }
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      const auto row = static_cast<int64_t>(i);
      const int64_t length = sequences_[i]->length;
      const KeyValues& own = sequences_[i]->layers[layer];
      own.keys.select(1, length).copy_(k.select(1, row));
      own.values.select(1, length).copy_(v.select(1, row));
      const auto part = attention_part(q.narrow(1, row, 1), own.keys.narrow(1, 0, length + 1),
                                       own.values.narrow(1, 0, length + 1), false);
      out[row].copy_(part.out.squeeze(1));
    }
    return out.flatten(1);
  }

  std::size_t layer = 0;  // to be set before each block

 private:
  // q, k and v [rows, heads, d].
  void attend_rows(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                   const torch::Tensor& out) const {
    parallel_for(static_cast<int64_t>(sequences_.size()), 4, [&](int64_t begin, int64_t end) {
      const at::NoGradGuard no_grad;  // of this thread
      for (int64_t row = begin; row < end; ++row) {
        const int64_t length = sequences_[row]->length;
        const KeyValues& own = sequences_[row]->layers[layer];
        own.keys.select(1, length).copy_(k[row]);
        own.values.select(1, length).copy_(v[row]);
        attend_newest(q[row], own, length + 1, out[row]);
      }
    });
  }

  const std::vector<GrowingTokens*>& sequences_;
};

}  // namespace

GrowingTokens::GrowingTokens(const CachedTokens& tokens) : length(tokens.length) {
  const int64_t capacity = 2 * kAlikeRows * ((length + 2 * kAlikeRows) / (2 * kAlikeRows));
  for (std::size_t layer = 0; layer < tokens.layers.size(); ++layer) {
    const auto whole = [&](torch::Tensor KeyValues::* part) {
      const auto& own = tokens.layers[layer].*part;
      auto all = at::empty({own.size(0), capacity, own.size(2)}, own.options());
      for (const CachedTokens* run = &tokens; run; run = run->before.get()) {
        const auto& piece = run->layers[layer].*part;
        all.narrow(1, run->length - piece.size(1), piece.size(1)).copy_(piece);
      }
      return all;
    };
    layers.push_back({whole(&KeyValues::keys), whole(&KeyValues::values)});
  }
}

std::shared_ptr<const CachedTokens> GrowingTokens::cached() const {
  auto tokens = std::make_shared<CachedTokens>();
  tokens->length = length;
  for (const auto& [keys, values] : layers) {
    tokens->layers.push_back(
        {keys.narrow(1, 0, length).clone(), values.narrow(1, 0, length).clone()});
  }
  return tokens;
}

torch::Tensor run_step(const Model& model, const std::vector<int64_t>& ids,
                       const std::vector<GrowingTokens*>& sequences) {
  const at::NoGradGuard no_grad;
  check(!ids.empty() && ids.size() == sequences.size(), "run_step",
        "each sequence gets one token. Got ", ids.size(), " tokens for ", sequences.size(),
        " sequences.");
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t most = model.config().max_positions;
  std::vector<int64_t> padded = ids, positions;
  for (auto* sequence : sequences) {
    check(sequence->length < most, "Model", "the model has ", most, " positions. Got ",
          sequence->length + 1, " tokens.");
    positions.push_back(sequence->length);
    make_room(*sequence);
  }
  padded.resize((count + kAlikeRows - 1) / kAlikeRows * kAlikeRows, 0);
  positions.resize(padded.size(), 0);
  StepAttention attention(sequences);
  BlockState state = model.begin_at(as_tensor(padded).unsqueeze(0), as_tensor(positions));
  state.packed = &attention;
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    attention.layer = layer;
    model.block(layer)->forward(state);
  }
  for (auto* sequence : sequences) ++sequence->length;
  return state.hidden[0];
}

}  // namespace cupel
