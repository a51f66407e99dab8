#include "eval/prompt_blocks.h"

namespace cupel {

namespace {

// Whole blocks of a prompt; at least one token is left behind them.
int64_t whole_blocks(const std::vector<int64_t>& prompt) {
  return (static_cast<int64_t>(prompt.size()) - 1) / PromptBlocks::kTokens;
}

std::vector<int64_t> block_of(const std::vector<int64_t>& prompt, int64_t index) {
  const auto begin = prompt.begin() + index * PromptBlocks::kTokens;
  return {begin, begin + PromptBlocks::kTokens};
}

}  // namespace

PromptBlocks::PromptBlocks(TokenModel& model, bool share, int64_t most_tokens, ScorerCounts& counts)
    : model_(model), share_(share), most_tokens_(most_tokens), counts_(counts) {}

void PromptBlocks::add(const std::vector<int64_t>& prompt) {
  Block* block = &root_;
  for (int64_t i = 0; i < whole_blocks(prompt); ++i) {
    block = &block->next[block_of(prompt, i)];
    ++block->uses;
  }
}

TokenModel::StatePtr PromptBlocks::run_blocks(const std::vector<int64_t>& prompt) {
  Block* block = &root_;
  TokenModel::StatePtr state;
  for (int64_t i = 0; i < whole_blocks(prompt); ++i) {
    const auto tokens = block_of(prompt, i);
    block = &block->next.at(tokens);
    --block->uses;
    if (block->state) {
      counts_.shared += kTokens;
      state = block->state;
      if (block->uses == 0) {
        block->state = nullptr;
        kept_tokens_ -= kTokens;
      }
      continue;
    }
    state = model_.prefill(tokens, state);
    counts_.run += kTokens;
    if (share_ && block->uses > 0 && kept_tokens_ + kTokens <= most_tokens_) {
      block->state = state;
      kept_tokens_ += kTokens;
    }
  }
  return state;
}

std::vector<TokenModel::StatePtr> PromptBlocks::run(
    const std::vector<const std::vector<int64_t>*>& prompts, torch::Tensor& logits) {
  std::vector<TokenModel::Row> rows;
  for (const auto* prompt : prompts) {
    TokenModel::Row row{{prompt->begin() + whole_blocks(*prompt) * kTokens, prompt->end()}};
    row.state = run_blocks(*prompt);
    counts_.run += static_cast<int64_t>(row.tokens.size());
    rows.push_back(std::move(row));
  }
  return model_.prefill_each(rows, logits);
}

}  // namespace cupel
