#include <torch/types.h>

#include <filesystem>

#include "compress/block_loop.h"
#include "compress/result_record.h"
#include "cupel/compress/compress_model.h"
#include "cupel/core/check.h"
#include "model/model_writer.h"

namespace cupel {

CompressionResult compress_checkpoint(const std::string& input_dir, const Calibration& calibration,
                                      const Compressor& compressor, const std::string& output_dir,
                                      const CompressOptions& options, const LoadOptions& load,
                                      const SaveOptions& save) {
  std::error_code missing;
  check(!std::filesystem::equivalent(input_dir, output_dir, missing), "compress_checkpoint",
        "the output must be another folder than the input. Got ", output_dir, ".");
  LoadOptions lazy = load;
  lazy.lazy = true;
  const auto model = load_model(input_dir, lazy);
  ModelWriter writer(*model, output_dir, save);
  for (const auto& [name, tensor] : model->outer_tensors()) writer.write(name, tensor);
  const auto next = [&](int64_t layer) { return model->block(layer); };
  const auto done = [&](int64_t, const std::shared_ptr<Block>& block,
                        std::vector<LayerResult>& results) {
    for (const auto& result : results) {
      check(save.format == "dense" || result.codes.defined(), "compress_checkpoint", "format '",
            save.format, "' needs codes for every layer that is compressed. ", compressor.name(),
            " gave none for ", result.name, "; choose a method that quantizes, or format='dense'.");
    }
    writer.write_block(*block);
    // The masks of a model larger than memory do not fit either; they can be read off the zeros.
    for (auto& result : results) {
      if (!options.keep_tensors) result.mask = torch::Tensor();
    }
  };
  CompressionResult result = compress_blocks(*model, calibration, compressor, options, next, done);
  writer.finish(append_record(model->record(), result));
  return result;
}

}  // namespace cupel
