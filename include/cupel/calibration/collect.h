#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cupel/calibration/input_stats.h"
#include "cupel/calibration/windows.h"
#include "cupel/model/model.h"

namespace cupel {

/// Calibration samples on their way through the model: a residual stream for each batch. Samples of
/// equal length share a batch, in the order given, so there is never any padding.
class CalibrationStream {
 public:
  /// Embeds the samples. Throws std::invalid_argument for ids or lengths the model has not.
  CalibrationStream(const Model& model, const Calibration& calibration);

  bool empty() const { return batches_.empty(); }
  int64_t samples() const;

  /// Called before each batch is worked on, so that a caller can report and cancel.
  std::function<void()> on_batch;

  /// Statistics of the inputs of one stage's linears as the block stands now; `layer` names the
  /// first of them, for messages. With `keep_inputs` they are not made again by an apply() of the same
  /// block and stage that comes next; nothing before the stage's linears may change until then.
  InputStats collect(const Block& block, int64_t stage, Needs needs, const std::string& layer,
                     int64_t columns, bool keep_inputs = false);
  /// Called with the input of a stage, and the samples that it is of.
  using See = std::function<void(int64_t stage, const torch::Tensor& input, int64_t first_sample,
                                 int64_t sample_tokens)>;
  /// Runs the first `applied` stages of a block and calls `see` for the first `seen` (at most one more),
  /// one batch after the other, so that what a batch carries between stages is not kept for all of
  /// them. The batches themselves move on only if `keep`.
  void pass(const Block& block, int64_t seen, int64_t applied, bool keep, const See& see);
  /// Moves every batch through one stage.
  void apply(const Block& block, int64_t stage);
  /// Moves every batch through the whole block.
  void forward(const Block& block);
  /// Drops the residual streams (after the last layer that needs them).
  void clear() { batches_.clear(); }

 private:
  struct Batch {
    BlockState state;
    int64_t first_sample, sample_tokens;
    torch::Tensor input = {};  // of collected_
  };
  void forget_inputs();

  std::pair<const Block*, int64_t> collected_ = {nullptr, 0};
  std::vector<Batch> batches_;
};

}  // namespace cupel
