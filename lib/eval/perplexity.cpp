#include "cupel/eval/perplexity.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "eval/perplexity_plan.h"
#include "cupel/eval/statistics.h"
#include "eval/token_scores.h"

namespace cupel {

std::string block_name(const PerplexityPlan& plan, int64_t block) {
  const bool documents = plan.result.protocol == "harness";
  return c10::str(documents ? "document " : "window ", plan.blocks.at(block), " of ",
                  plan.result.file);
}

std::vector<BlockSum> score_batch(TokenModel& model, const PerplexityPlan& plan,
                                  const PerplexityBatch& batch) {
  std::vector<TokenModel::Row> rows;
  std::vector<Target> targets;
  std::vector<BlockSum> sums;
  for (int64_t i = batch.begin; i < batch.end; ++i) {
    const PerplexityWindow& window = plan.windows.at(i);
    const int64_t* ids = plan.sequences.at(window.sequence).data() + window.begin;
    TokenModel::Row row{.tokens = {ids, ids + window.tokens - 1}};
    for (int64_t at = window.first; at < window.tokens; ++at) {
      row.wanted.push_back(at - 1);
      targets.push_back({static_cast<int64_t>(targets.size()), ids[at]});
    }
    rows.push_back(std::move(row));
    sums.push_back({i, 0, window.tokens - window.first});
  }
  const TargetScores scores = score_targets(model, rows, targets);
  auto from = scores.log_probability.begin();
  for (auto& sum : sums) {
    sum.nats = -std::accumulate(from, from + sum.tokens, 0.0);
    from += sum.tokens;
    if (!std::isfinite(sum.nats)) {
      throw NumericalError(c10::str("[perplexity] log-likelihoods must be finite. Got ", -sum.nats,
                                    " in ", block_name(plan, plan.windows[sum.window].block),
                                    "; the model's weights or activations overflow, or it ",
                                    "excludes a token that occurs."));
    }
  }
  return sums;
}

Perplexity summarise(const PerplexityPlan& plan, const std::vector<BlockSum>& sums) {
  std::vector<const BlockSum*> ordered(plan.windows.size());
  for (const auto& sum : sums) {
    check(sum.window >= 0 && sum.window < plan.result.windows && !ordered[sum.window], "perplexity",
          "each window has one sum. Got another for window ", sum.window, " of ",
          plan.result.windows, ".");
    ordered[sum.window] = &sum;
  }
  check(sums.size() == ordered.size(), "perplexity", "each window has one sum. Got ", sums.size(),
        " for ", ordered.size(), " windows.");
  Perplexity result = plan.result;
  result.window_losses.assign(plan.blocks.size(), 0);
  result.window_tokens.assign(plan.blocks.size(), 0);
  double nats = 0;
  for (const auto* sum : ordered) {
    const PerplexityWindow& window = plan.windows[sum->window];
    check(sum->tokens == window.tokens - window.first, "perplexity", "window ", sum->window,
          " scores ", window.tokens - window.first, " tokens. Got a sum of ", sum->tokens, ".");
    result.window_losses[window.block] += sum->nats;
    result.window_tokens[window.block] += sum->tokens;
    nats += sum->nats;
  }
  result.standard_error = block_standard_error(result.window_losses, result.window_tokens);
  for (std::size_t i = 0; i < result.window_losses.size(); ++i) {
    result.window_losses[i] /= static_cast<double>(result.window_tokens[i]);
  }
  result.loss = nats / static_cast<double>(result.scored);
  result.value = std::exp(result.loss);
  if (result.protocol == "harness") {
    const auto bytes = static_cast<double>(result.bytes);
    result.word_perplexity = std::exp(nats / static_cast<double>(result.words));
    result.byte_perplexity = std::exp(nats / bytes);
    result.bits_per_byte = nats / bytes / std::log(2.0);
  }
  return result;
}

Perplexity perplexity(TokenModel& model, const Tokenizer& tokenizer, const std::string& file,
                      const PerplexityOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const PerplexityPlan plan = plan_perplexity(model.info(), tokenizer, file, options);
  const ProgressReporter progress(options.progress);
  std::vector<BlockSum> sums;
  const auto report = [&] {
    progress.report({.stage = "score",
                     .name = "perplexity " + plan.result.file,
                     .done = static_cast<int64_t>(sums.size()),
                     .total = plan.result.windows});
  };
  const WorkScope working(report);
  for (const auto& batch : plan.batches) {
    report();
    for (const auto& sum : score_batch(model, plan, batch)) sums.push_back(sum);
  }
  report();
  Perplexity result = summarise(plan, sums);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
