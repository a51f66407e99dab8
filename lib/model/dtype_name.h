#pragma once

#include <torch/types.h>

#include <string>

namespace cupel {

/// A weight dtype as config.json writes it.
inline std::string dtype_name(torch::Dtype dtype) {
  if (dtype == torch::kBFloat16) return "bfloat16";
  return dtype == torch::kHalf ? "float16" : "float32";
}

}  // namespace cupel
