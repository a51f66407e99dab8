#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "cupel/eval/scorer.h"
#include "cupel/eval/token_model.h"

namespace cupel {

/// The beginnings of prompts, in blocks of kTokens. A block runs alone after the blocks before it,
/// whether or not another prompt needs it too: its state has the same bytes either way. Prompts of
/// no more than a block run together; what is left behind blocks runs alone, like them. A state is
/// kept while a prompt that shares it is still to come, as long as there is memory for it.
class PromptBlocks {
 public:
  static constexpr int64_t kTokens = 128;

  PromptBlocks(TokenModel& model, bool share, int64_t most_tokens, ScorerCounts& counts);

  /// Announces a prompt.
  void add(const std::vector<int64_t>& prompt);
  /// Runs announced prompts, each once: the states behind them, and the logits of their last tokens
  /// in `logits` [prompts, vocabulary].
  std::vector<TokenModel::StatePtr> run(const std::vector<const std::vector<int64_t>*>& prompts,
                                        torch::Tensor& logits);

 private:
  struct Block {
    std::map<std::vector<int64_t>, Block> next;
    int64_t uses = 0;  // prompts still to come
    TokenModel::StatePtr state;
  };

  /// The state behind the whole blocks of a prompt; null = it has none.
  TokenModel::StatePtr run_blocks(const std::vector<int64_t>& prompt);

  TokenModel& model_;
  bool share_;
  int64_t most_tokens_, kept_tokens_ = 0;
  ScorerCounts& counts_;
  Block root_;
};

}  // namespace cupel
