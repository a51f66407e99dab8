#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/pack_quantized.h"
#include "core/json.h"

namespace cupel {

/// The class of layers that a target may name.
inline constexpr const char* kLinearClass = "Linear";

/// "quantization_config" of config.json in the words of compressed-tensors: which linear layers are
/// packed, and how.
struct QuantizationConfig {
  struct Group {
    std::vector<std::string> targets;  ///< exact names, "re:<expression>" or the class "Linear"
    PackScheme scheme;
  };
  std::vector<Group> groups;
  std::vector<std::string> ignore;  ///< likewise; wins over the targets
};

/// Reads it field by field. FormatError, naming the field in `file`, for whatever is not integer
/// weights of 4 or 8 bits in the format "pack-quantized": other methods and formats, quantized
/// activations or caches, sparsity, transforms, columns in another order, unknown fields.
QuantizationConfig parse_quantization_config(const Json& json, const std::string& file);

/// The JSON for `groups` (scheme -> layers); `ignored` are linear layers that stay dense.
Json quantization_config_json(const std::map<PackScheme, std::vector<std::string>>& groups,
                              const std::vector<std::string>& ignored);

}  // namespace cupel
