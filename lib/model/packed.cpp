#include "cupel/model/packed.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>

#include "cupel/core/check.h"
#include "model/attention_parts.h"

namespace cupel {

namespace {

constexpr int64_t kRows = 256;  // that run together behind attention

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

// Attention of all rows, or of the wanted ones alone (the output is theirs then).
class SequencesAttention : public PackedAttention {
 public:
  SequencesAttention(const std::vector<PackedSequence>& sequences, std::vector<Rows> rows,
                     torch::Tensor wanted)
      : sequences_(sequences),
        rows_(std::move(rows)),
        shared_(shared_rows(sequences, rows_)),
        wanted_(std::move(wanted)) {
    for (const auto& sequence : sequences) {
      const int64_t begin = wanted_rows_.empty() ? 0 : wanted_rows_.back().end;
      wanted_rows_.push_back({begin, begin + static_cast<int64_t>(sequence.wanted.size())});
    }
    shared_wanted_ = shared_rows(sequences, wanted_rows_);
  }

  torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    keys = k;
    values = v;
    const torch::Tensor queries = only_wanted ? q.index_select(1, wanted_) : q;
    AttentionParts parts(queries);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (only_wanted) {
        attend_wanted(i, q, k, v, parts);
      } else {
        const Rows& rows = rows_[i];
        parts.set(rows.begin, attention_part(rows.of(q), rows.of(k), rows.of(v), true));
      }
    }
    for (const auto& [tokens, rows] : only_wanted ? shared_wanted_ : shared_) {
      if (rows.size() == 0) continue;
      const KeyValues& cached = tokens->layers[layer];
      parts.merge(rows.begin, attention_part(rows.of(queries), cached.keys, cached.values, false));
    }
    return parts.result();
  }

  std::size_t layer = 0;       // to be set before each block
  bool only_wanted = false;    // likewise
  torch::Tensor keys, values;  // of the block that ran last

 private:
  // The wanted rows of one sequence over its own keys: row by row when they are few, else by way of
  // all of them.
  void attend_wanted(std::size_t i, const torch::Tensor& q, const torch::Tensor& k,
                     const torch::Tensor& v, AttentionParts& parts) const {
    constexpr int64_t few = 8;
    const auto& wanted = sequences_[i].wanted;
    const auto count = static_cast<int64_t>(wanted.size());
    const Rows &rows = rows_[i], &to = wanted_rows_[i];
    if (count == 0) return;
    if (count * few > rows.size()) {
      const auto all = attention_part(rows.of(q), rows.of(k), rows.of(v), true);
      const auto chosen = wanted_.narrow(0, to.begin, count) - rows.begin;
      parts.set(to.begin, {all.out.index_select(1, chosen), all.lse.index_select(1, chosen)});
      return;
    }
    for (int64_t j = 0; j < count; ++j) {
      const Rows row{rows.begin + wanted[j], rows.begin + wanted[j] + 1};
      const Rows seen{rows.begin, row.end};
      parts.set(to.begin + j, attention_part(row.of(q), seen.of(k), seen.of(v), false));
    }
  }

  const std::vector<PackedSequence>& sequences_;
  std::vector<Rows> rows_, wanted_rows_;
  std::vector<SharedRows> shared_, shared_wanted_;
  torch::Tensor wanted_;  // int64 [wanted], rows of the packed tokens
};

// The stages behind attention, where no row sees another: a part of the rows at a time, so that the
// widest activations stay small.
void row_stages(const Block& block, BlockState& state) {
  const int64_t size = state.hidden.size(1);
  torch::Tensor hidden;
  for (int64_t begin = 0; begin < size; begin += kRows) {
    const Rows rows{begin, std::min(size, begin + kRows)};
    BlockState part = state;
    part.hidden = rows.of(state.hidden);
    part.carried = rows.of(state.carried);
    for (int64_t stage = 1; stage < block.stages(); ++stage) {
      block.apply(stage, block.input(stage, part), part);
    }
    if (size <= kRows) {
      hidden = part.hidden;
      break;
    }
    if (!hidden.defined()) hidden = at::empty_like(state.hidden, at::MemoryFormat::Contiguous);
    rows.of(hidden).copy_(part.hidden);
  }
  state.hidden = hidden;
  state.carried = torch::Tensor();
}

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

  const auto wanted_rows = as_tensor(wanted).to(model.device());
  SequencesAttention attention(sequences, rows, wanted_rows);
  BlockState state = model.begin_at(as_tensor(tokens).unsqueeze(0), as_tensor(positions));
  state.packed = &attention;
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto block = model.block(layer);
    // Behind the last meeting of the tokens, only the wanted ones go on.
    const bool last = layer + 1 == model.layers();
    attention.layer = layer;
    attention.only_wanted = last;
    block->apply(0, block->input(0, state), state);
    if (last) state.hidden = state.hidden.index_select(1, wanted_rows);
    if (!last || !wanted.empty()) row_stages(*block, state);
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
