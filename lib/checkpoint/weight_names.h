#pragma once

#include <string_view>

namespace cupel {

/// True for names of files that hold weights in any known format, and for their indices.
inline bool is_weight_file(std::string_view name) {
  constexpr std::string_view index = ".index.json";
  if (name.ends_with(index)) name.remove_suffix(index.size());
  for (const std::string_view end : {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf",
                                     ".ggml", ".h5", ".msgpack", ".onnx", ".onnx_data", ".npz"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

}  // namespace cupel
