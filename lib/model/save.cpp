#include <torch/types.h>

#include "cupel/core/check.h"
#include "cupel/model/model.h"
#include "model/model_writer.h"
#include "model/packed_linears.h"

namespace cupel {

void save_model(const Model& model, const std::string& dir, const SaveOptions& options) {
  check_save_options(options);
  if (options.format == "pack-quantized") {  // everything that may be wrong, before any file
    bool any = false;
    for (int64_t layer = 0; layer < model.layers(); ++layer) {
      any = !linears_to_pack(*model.block(layer), model.dtype()).empty() || any;
    }
    check(any, "save_model", "pack-quantized needs a quantized layer. Got none: compress with a ",
          "method that quantizes, and change no weights after it; or save with format=\"dense\".");
  }
  ModelWriter writer(model, dir, options);
  for (const auto& [name, tensor] : model.outer_tensors()) writer.write(name, tensor);
  for (int64_t layer = 0; layer < model.layers(); ++layer) {  // a lazy model: one block at a time
    writer.write_block(*model.block(layer));
  }
  writer.finish(model.record());
}

}  // namespace cupel
