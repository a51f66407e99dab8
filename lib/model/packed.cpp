#include "cupel/model/packed.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "cupel/core/check.h"
#include "model/attention_parts.h"

namespace cupel {

namespace {

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

// Rows [begin, end) of the packed tokens.
struct Rows {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  torch::Tensor of(const torch::Tensor& x) const { return x.narrow(-2, begin, size()); }
};

// Which rows attend to which cached tokens.
struct SharedRows {
  const CachedTokens* tokens;
  Rows rows;
};

// Every cached run that a sequence stands behind, with neighbours behind the same run joined.
std::vector<SharedRows> shared_rows(const std::vector<PackedSequence>& sequences,
                                    const std::vector<Rows>& rows) {
  std::vector<SharedRows> shared;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    for (const CachedTokens* run = sequences[i].after.get(); run; run = run->before.get()) {
      SharedRows* open = nullptr;
      for (auto& candidate : shared) {
        if (candidate.tokens == run && candidate.rows.end == rows[i].begin) open = &candidate;
      }
      if (open) {
        open->rows.end = rows[i].end;
      } else {
        shared.push_back({run, rows[i]});
      }
    }
  }
  return shared;
}

class SequencesAttention : public PackedAttention {
 public:
  SequencesAttention(const std::vector<PackedSequence>& sequences, std::vector<Rows> rows)
      : rows_(std::move(rows)), shared_(shared_rows(sequences, rows_)) {}

  torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    keys = k;
    values = v;
    AttentionParts parts(q);
    for (const Rows& rows : rows_) {
      parts.set(rows.begin, attention_part(rows.of(q), rows.of(k), rows.of(v), true));
    }
    for (const auto& [tokens, rows] : shared_) {
      const KeyValues& cached = tokens->layers[layer];
      parts.merge(rows.begin, attention_part(rows.of(q), cached.keys, cached.values, false));
    }
    return parts.result();
  }

  std::size_t layer = 0;       // to be set before each block
  torch::Tensor keys, values;  // of the block that ran last

 private:
  std::vector<Rows> rows_;
  std::vector<SharedRows> shared_;
};

}  // namespace

PackedHidden run_packed(const Model& model, const std::vector<PackedSequence>& sequences) {
  const at::NoGradGuard no_grad;
  const int64_t most = model.config().max_positions;
  std::vector<int64_t> tokens, positions, wanted;
  std::vector<Rows> rows;
  PackedHidden made;
  std::vector<std::shared_ptr<CachedTokens>> cached(sequences.size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& sequence = sequences[i];
    const int64_t before = sequence.after ? sequence.after->length : 0;
    const auto size = static_cast<int64_t>(sequence.tokens.size());
    check(size >= 1, "run_packed", "a sequence has tokens. Got none in sequence ", i, ".");
    check(before + size <= most, "Model", "the model has ", most, " positions. Got ", before + size,
          " tokens.");
    const auto begin = static_cast<int64_t>(tokens.size());
    rows.push_back({begin, begin + size});
    for (int64_t j = 0; j < size; ++j) positions.push_back(before + j);
    for (const int64_t position : sequence.wanted) {
      check(position >= 0 && position < size, "run_packed", "wanted positions lie in [0, ", size,
            "). Got ", position, ".");
      wanted.push_back(begin + position);
    }
    tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
    if (!sequence.keep) continue;
    cached[i] = std::make_shared<CachedTokens>();
    cached[i]->before = sequence.after;
    cached[i]->length = before + size;
  }
  check(!tokens.empty(), "run_packed", "there must be a sequence.");

  SequencesAttention attention(sequences, rows);
  BlockState state = model.begin_at(as_tensor(tokens).unsqueeze(0), as_tensor(positions));
  state.packed = &attention;
  const auto wanted_rows = as_tensor(wanted).to(model.device());
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto block = model.block(layer);
    attention.layer = layer;
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      block->apply(stage, block->input(stage, state), state);
      // Behind the last meeting of the tokens, only the wanted ones go on.
      if (stage == 0 && layer + 1 == model.layers()) {
        state.hidden = state.hidden.index_select(1, wanted_rows);
        if (wanted.empty()) break;
        state.carried = state.carried.index_select(1, wanted_rows);
      }
    }
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      if (!cached[i]) continue;
      const auto own = [&](const torch::Tensor& x) {
        return rows[i].of(x).clone(at::MemoryFormat::Contiguous);
      };
      cached[i]->layers.push_back({own(attention.keys), own(attention.values)});
    }
  }
  made.hidden = state.hidden[0];
  made.cached.assign(cached.begin(), cached.end());
  return made;
}

}  // namespace cupel
