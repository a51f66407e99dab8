#include "cupel/eval/divergence.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/eval/statistics.h"
#include "eval/perplexity_plan.h"
#include "eval/token_scores.h"

namespace cupel {

namespace {

// Rows of dense logits that are held while the compressed model runs, and rows compared at once in
// float64: memory grows neither with the length nor with length x vocabulary.
constexpr int64_t kHeldLogits = int64_t{8} << 20, kComparedLogits = int64_t{1} << 20;

// What one scored token contributes.
struct TokenNumbers {
  std::vector<double> kl, dense, compressed;  // nats: divergence, and both losses
  std::vector<char> agree;
};

// Predictions of part of a window. A model with states goes on from the part before; another one
// runs the window's beginning again, so that both see every token before.
class WindowWalk {
 public:
  explicit WindowWalk(TokenModel& model, bool has_states) : model_(model), states_(has_states) {}

  // Tokens [0, begin) were walked; hands on the logits behind tokens [begin, end).
  void walk(const int64_t* ids, int64_t begin, int64_t end, bool last,
            const TokenModel::LogitSink& sink) {
    const int64_t from = states_ ? begin : 0;
    TokenModel::Row row{.tokens = {ids + from, ids + end}};
    for (int64_t i = begin; i < end; ++i) row.wanted.push_back(i - from);
    row.state = begin == 0 ? nullptr : state_;
    row.keep = states_ && !last;
    state_ = model_.run({row}, sink).at(0);
  }

 private:
  TokenModel& model_;
  bool states_;
  TokenModel::StatePtr state_;
};

void compare_rows(const torch::Tensor& dense, const torch::Tensor& compressed,
                  const torch::Tensor& targets, TokenNumbers& numbers) {
  const int64_t at_once = std::max<int64_t>(1, kComparedLogits / dense.size(1));
  for (int64_t begin = 0; begin < dense.size(0); begin += at_once) {
    const int64_t rows = std::min(at_once, dense.size(0) - begin);
    const auto x = dense.narrow(0, begin, rows), y = compressed.narrow(0, begin, rows);
    const auto agree = x.argmax(1).eq(y.argmax(1)).cpu();
    const auto p = at::log_softmax(x.to(at::kDouble), 1), q = at::log_softmax(y.to(at::kDouble), 1);
    const auto weights = p.exp();
    // 0 ln 0 = 0, also where the compressed model excludes the token as well.
    const auto kl =
        row_sums(at::where(weights.eq(0), at::zeros({}, p.options()), weights * (p - q)));
    const auto id = targets.narrow(0, begin, rows).to(p.device()).unsqueeze(1);
    const auto append = [](std::vector<double>& to, const torch::Tensor& values) {
      const auto cpu = values.cpu().contiguous();
      to.insert(to.end(), cpu.const_data_ptr<double>(), cpu.const_data_ptr<double>() + cpu.numel());
    };
    append(numbers.kl, kl);
    append(numbers.dense, -p.gather(1, id));
    append(numbers.compressed, -q.gather(1, id));
    for (int64_t i = 0; i < rows; ++i) numbers.agree.push_back(agree.const_data_ptr<bool>()[i]);
  }
}

class Lockstep {
 public:
  Lockstep(TokenModel& dense, TokenModel& compressed, const Divergence& result)
      : dense_(dense),
        compressed_(compressed),
        dense_states_(result.dense.has_states),
        compressed_states_(result.compressed.has_states),
        at_once_(std::max<int64_t>(1, kHeldLogits / result.dense.vocabulary)) {}

  // Tokens 1 .. length-1 of a window, each after those before it.
  TokenNumbers score(const int64_t* ids, int64_t length) {
    TokenNumbers numbers;
    WindowWalk dense(dense_, dense_states_), compressed(compressed_, compressed_states_);
    const int64_t last = length - 1;
    for (int64_t begin = 0; begin < last; begin += at_once_) {
      const int64_t end = std::min(begin + at_once_, last);
      torch::Tensor held;
      dense.walk(ids, begin, end, end == last, [&](int64_t first, const torch::Tensor& logits) {
        if (!held.defined()) held = at::empty({end - begin, logits.size(1)}, logits.options());
        held.narrow(0, first, logits.size(0)).copy_(logits);
      });
      const at::ArrayRef<int64_t> next(ids + begin + 1, ids + end + 1);
      const auto targets = at::tensor(next, at::kLong);
      compressed.walk(ids, begin, end, end == last,
                      [&](int64_t first, const torch::Tensor& logits) {
                        const int64_t rows = logits.size(0);
                        compare_rows(held.narrow(0, first, rows), logits.to(held.device()),
                                     targets.narrow(0, first, rows), numbers);
                      });
    }
    return numbers;
  }

 private:
  TokenModel &dense_, &compressed_;
  bool dense_states_, compressed_states_;
  int64_t at_once_;
};

}  // namespace

Divergence divergence(TokenModel& dense, TokenModel& compressed, const Tokenizer& tokenizer,
                      const std::string& file, const DivergenceOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Divergence result;
  result.dense = dense.info();
  result.compressed = compressed.info();
  check(result.dense.vocabulary == result.compressed.vocabulary, "divergence",
        "both models need the same vocabulary. Got ", result.dense.vocabulary, " and ",
        result.compressed.vocabulary, " ids.");
  TokenModelInfo both = result.dense;
  both.max_length = std::min(both.max_length, result.compressed.max_length);
  const PerplexityPlan plan =
      plan_perplexity(both, tokenizer, file, {.length = options.length, .protocol = "gptq"});
  result.length = plan.result.length;
  result.windows = plan.result.windows;
  result.tokens = plan.result.tokens;
  result.scored = plan.result.scored;
  result.dropped = plan.result.dropped;
  result.file = plan.result.file;
  result.file_sha256 = plan.result.file_sha256;
  result.tokenizer = plan.result.tokenizer;

  const ProgressReporter progress(options.progress);
  const auto report = [&] {
    progress.report({.stage = "score",
                     .name = "divergence " + result.file,
                     .done = static_cast<int64_t>(result.window_kl.size()),
                     .total = result.windows});
  };
  const WorkScope working(report);
  Lockstep lockstep(dense, compressed, result);
  std::vector<double> all;
  double agree = 0, delta = 0, squares = 0;
  for (const auto& window : plan.windows) {
    report();
    const TokenNumbers numbers =
        lockstep.score(plan.sequences[window.sequence].data() + window.begin, window.tokens);
    check(static_cast<int64_t>(numbers.kl.size()) == window.tokens - 1, "TokenModel",
          "run must give the logits of every wanted position. Got ", numbers.kl.size(), " of ",
          window.tokens - 1, ".");
    double kl = 0, dense_nats = 0, compressed_nats = 0;
    for (std::size_t i = 0; i < numbers.kl.size(); ++i) {
      kl += numbers.kl[i];
      dense_nats += numbers.dense[i];
      compressed_nats += numbers.compressed[i];
      const double change = std::exp(-numbers.compressed[i]) - std::exp(-numbers.dense[i]);
      delta += change;
      squares += change * change;
      agree += numbers.agree[i];
    }
    if (!std::isfinite(kl + dense_nats + compressed_nats)) {
      throw NumericalError(c10::str("[divergence] numbers must be finite. Got losses of ",
                                    dense_nats, " (dense) and ", compressed_nats,
                                    " (compressed) and a divergence of ", kl, " nats in ",
                                    block_name(plan, window.block), "."));
    }
    const auto count = static_cast<double>(numbers.kl.size());
    result.window_kl.push_back(kl / count);
    result.window_log_ratios.push_back((compressed_nats - dense_nats) / count);
    result.mean_kl += kl;
    result.dense_loss += dense_nats;
    result.compressed_loss += compressed_nats;
    all.insert(all.end(), numbers.kl.begin(), numbers.kl.end());
  }
  report();
  const auto scored = static_cast<double>(result.scored);
  for (double* sum : {&result.mean_kl, &result.dense_loss, &result.compressed_loss}) *sum /= scored;
  result.top1_agreement = agree / scored;
  result.delta_p_mean = delta / scored;
  result.delta_p_rms = std::sqrt(squares / scored);
  result.log_ratio = result.compressed_loss - result.dense_loss;
  result.median_kl = quantile(all, 0.5);
  result.p99_kl = quantile(all, 0.99);
  result.max_kl = *std::max_element(all.begin(), all.end());
  const std::vector<int64_t> tokens(plan.windows.size(), result.length - 1);
  const auto error = [&](std::vector<double> means) {
    for (double& mean : means) mean *= static_cast<double>(result.length - 1);
    return block_standard_error(means, tokens);
  };
  result.kl_standard_error = error(result.window_kl);
  result.log_ratio_standard_error = error(result.window_log_ratios);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.seconds = passed.count();
  return result;
}

}  // namespace cupel
