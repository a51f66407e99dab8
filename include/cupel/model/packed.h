#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cupel/model/model.h"

namespace cupel {

/// Matrix products of a multiple of so many rows give each row the same bytes, whatever their number.
constexpr int64_t kAlikeRows = 16;

/// Tokens already run: their keys and values in each block, behind those of the tokens before
/// them. Whatever continues them shares them.
struct CachedTokens {
  std::shared_ptr<const CachedTokens> before;  ///< null = from the start
  int64_t length = 0;                          ///< tokens, those before included
  std::vector<KeyValues> layers;  ///< of its own tokens [key_value_heads, own, head_dim]
};

/// One of several sequences that run without padding, one after the other in one row of tokens.
struct PackedSequence {
  std::vector<int64_t> tokens;                     ///< at least one
  std::vector<int64_t> wanted = {};                ///< positions in `tokens`, ascending
  std::shared_ptr<const CachedTokens> after = {};  ///< what comes before; null = nothing
  bool keep = false;                               ///< cache this sequence's tokens
};

struct PackedHidden {
  torch::Tensor hidden;  ///< after the last block [wanted positions of all sequences, hidden]
  std::vector<std::shared_ptr<const CachedTokens>> cached;  ///< null for those that keep none
};

/// Runs `sequences` as one row of tokens: the linear layers see all of it, attention keeps the
/// sequences apart. Those behind the same cached tokens attend to them together (the attention over
/// a shared prefix of Hydragen, arXiv 2402.05099, sec. 3.1: parts are merged by their log-sum-exp),
/// best when they stand next to each other. std::invalid_argument for an empty sequence, an id
/// outside the vocabulary, or more positions than the model has.
PackedHidden run_packed(const Model& model, const std::vector<PackedSequence>& sequences);

/// One sequence that grows token by token, in memory of its own.
struct GrowingTokens {
  int64_t length = 0;
  std::vector<KeyValues> layers;  ///< [key_value_heads, capacity, head_dim]

  explicit GrowingTokens(const CachedTokens& tokens);
  /// What it holds now, to be shared.
  std::shared_ptr<const CachedTokens> cached() const;
};

/// Adds ids[i] to *sequences[i], each sequence at most once: hidden after the last block
/// [padded rows, hidden], the first of them those of `ids`.
/// A sequence's row is the same bytes whatever the other rows are: rows are padded to a multiple of
/// kAlikeRows, and attention runs sequence by sequence.
torch::Tensor run_step(const Model& model, const std::vector<int64_t>& ids,
                       const std::vector<GrowingTokens*>& sequences);

}  // namespace cupel
