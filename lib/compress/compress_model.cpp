#include "cupel/compress/compress_model.h"

#include <torch/types.h>

#include "compress/block_loop.h"
#include "compress/result_record.h"

namespace cupel {

namespace {

// Puts every weight back unless the run reaches its end.
class Undo {
 public:
  explicit Undo(Model& model) : model_(model) {}

  ~Undo() {
    if (kept_) return;
    for (auto& [linear, before] : linears_) *linear = before;
    for (const int64_t layer : new_blocks_) model_.keep_block(layer, nullptr);
  }

  void remember(int64_t layer, const std::shared_ptr<Block>& block) {
    if (!model_.holds_block(layer)) {  // a lazy model reads it again
      new_blocks_.push_back(layer);
      return;
    }
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      for (const auto& [name, linear] : block->linears(stage))
        linears_.emplace_back(linear, *linear);
    }
  }

  void keep() { kept_ = true; }

 private:
  Model& model_;
  std::vector<std::pair<Linear*, Linear>> linears_;
  std::vector<int64_t> new_blocks_;
  bool kept_ = false;
};

}  // namespace

CompressionResult compress(Model& model, const Calibration& calibration,
                           const Compressor& compressor, const CompressOptions& options) {
  Undo undo(model);
  const auto next = [&](int64_t layer) {
    const auto block = model.block(layer);
    undo.remember(layer, block);
    return block;
  };
  const auto done = [&](int64_t layer, const std::shared_ptr<Block>& block,
                        std::vector<LayerResult>&) { model.keep_block(layer, block); };
  CompressionResult result = compress_blocks(model, calibration, compressor, options, next, done);
  model.set_record(append_record(model.record(), result));
  undo.keep();
  return result;
}

}  // namespace cupel
