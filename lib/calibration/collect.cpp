#include "cupel/calibration/collect.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "cupel/core/check.h"

namespace cupel {

namespace {
// Enough rows to keep a GEMM busy; small enough that activations of one batch stay modest.
constexpr int64_t kBatchTokens = 2048;
}  // namespace

CalibrationStream::CalibrationStream(const Model& model, const Calibration& calibration) {
  if (calibration.samples.empty()) return;
  calibration.validate(model.config().vocabulary);
  const at::NoGradGuard no_grad;
  const auto& samples = calibration.samples;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check(samples[i].size(0) <= model.config().max_positions, "compress", "the model has ",
          model.config().max_positions, " positions. Got calibration sample ", i, " of ",
          samples[i].size(0), " tokens.");
  }
  for (std::size_t begin = 0; begin < samples.size();) {
    const int64_t length = samples[begin].size(0);
    std::size_t end = begin + 1;
    while (end < samples.size() && samples[end].size(0) == length &&
           static_cast<int64_t>(end + 1 - begin) * length <= kBatchTokens) {
      ++end;
    }
    const std::vector<torch::Tensor> rows(samples.begin() + begin, samples.begin() + end);
    batches_.push_back({model.begin(at::stack(rows)), static_cast<int64_t>(begin), length});
    begin = end;
  }
}

int64_t CalibrationStream::samples() const {
  int64_t count = 0;
  for (const auto& batch : batches_) count += batch.state.hidden.size(0);
  return count;
}

void CalibrationStream::forget_inputs() {
  for (auto& batch : batches_) batch.input = torch::Tensor();
}

InputStats CalibrationStream::collect(const Block& block, int64_t stage, Needs needs,
                                      const std::string& layer, int64_t columns, bool keep_inputs) {
  const at::NoGradGuard no_grad;
  forget_inputs();
  collected_ = {&block, stage};
  InputStats stats(columns, needs);
  for (auto& batch : batches_) {
    if (on_batch) on_batch();
    const auto x = block.input(stage, batch.state);
    stats.add(x, x.size(0), {layer, batch.first_sample, batch.sample_tokens});
    if (keep_inputs) batch.input = x;
  }
  return stats;
}

void CalibrationStream::pass(const Block& block, int64_t seen, int64_t applied, bool keep,
                             const See& see) {
  const at::NoGradGuard no_grad;
  forget_inputs();
  for (auto& batch : batches_) {
    BlockState state = batch.state;
    for (int64_t stage = 0; stage < std::max(seen, applied); ++stage) {
      if (on_batch) on_batch();
      const auto x = block.input(stage, state);
      if (stage < seen) see(stage, x, batch.first_sample, batch.sample_tokens);
      if (stage < applied) block.apply(stage, x, state);
    }
    if (keep) batch.state = std::move(state);
  }
}

void CalibrationStream::apply(const Block& block, int64_t stage) {
  const at::NoGradGuard no_grad;
  const bool known = collected_ == std::pair(&block, stage);
  for (auto& batch : batches_) {
    if (on_batch) on_batch();
    const auto kept = std::exchange(batch.input, torch::Tensor());
    const auto x = known && kept.defined() ? kept : block.input(stage, batch.state);
    block.apply(stage, x, batch.state);
  }
}

void CalibrationStream::forward(const Block& block) { pass(block, 0, block.stages(), true, {}); }

}  // namespace cupel
