#pragma once

// Tiny models whose linears lie on grids, and the folder of one with everything in it in reach.
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "cupel/compress/grid.h"
#include "cupel/core/file.h"
#include "cupel/model/model.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace cupel::test {

/// Calls `function(name, linear)` for every linear of `model`.
template <typename Function>
void for_each_linear(const Model& model, Function&& function) {
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto block = model.block(layer);
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      for (const auto& [name, linear] : block->linears(stage)) function(name, *linear);
    }
  }
}

/// Rounds `linear` to nearest on `grid`.
inline void quantize_linear(Linear& linear, const Grid& grid) {
  const auto quantized = quantize(linear.weight().to(at::kFloat), grid);
  linear.set_compressed(dequantize(quantized).to(linear.weight().scalar_type()), {}, quantized);
}

inline void quantize_all(Model& model, const Grid& grid) {
  for_each_linear(model,
                  [&](const std::string&, Linear& linear) { quantize_linear(linear, grid); });
}

/// The tiny model in `dtype`, all of it on `grid`.
inline std::unique_ptr<Model> quantized_model(const Grid& grid, const TinyOptions& options = {},
                                              torch::Dtype dtype = at::kFloat) {
  TensorMap weights = tiny_weights(options);
  for (auto& [name, tensor] : weights) tensor = tensor.to(dtype);
  auto model = make_model(tiny_config(options), weights);
  quantize_all(*model, grid);
  return model;
}

/// A packed tiny model as a folder whose files can be changed and loaded again.
struct PackedFolder {
  TemporaryFolder folder;
  Json config;
  TensorMap tensors;

  explicit PackedFolder(const Grid& grid = {.bits = 4, .group = 8},
                        const TinyOptions& options = {}) {
    save_model(*quantized_model(grid, options), path(), {.format = "pack-quantized"});
    config = read_json(path() + "/config.json");
    tensors = read_safetensors(path() + "/model.safetensors");
  }

  std::string path() const { return folder.file("packed"); }
  Json& quantization() { return config["quantization_config"]; }
  Json& group(const char* name = "group_0") { return quantization()["config_groups"][name]; }

  /// Writes config and tensors as they are now and loads the folder.
  std::unique_ptr<Model> load(const LoadOptions& options = {}) const {
    write_file(path() + "/config.json", dump_json(config));
    const std::vector<std::pair<std::string, torch::Tensor>> list(tensors.begin(), tensors.end());
    write_safetensors(path() + "/model.safetensors", list, {{"format", "pt"}});
    return load_model(path(), options);
  }
};

}  // namespace cupel::test
