#include <torch/types.h>

#include "cupel/core/check.h"
#include "cupel/model/model.h"
#include "model/model_writer.h"

namespace cupel {

void save_model(const Model& model, const std::string& dir, const SaveOptions& options) {
  check(options.format == "dense", "save_model", "the format is dense. Got '", options.format,
        "'.");
  ModelWriter writer(model, dir);
  for (const auto& [name, tensor] : model.outer_tensors()) writer.write(name, tensor);
  for (int64_t layer = 0; layer < model.layers(); ++layer) {  // a lazy model: one block at a time
    for (const auto& [name, tensor] : model.block(layer)->tensors()) writer.write(name, tensor);
  }
  writer.finish(model.record());
}

}  // namespace cupel
