#pragma once

#include <torch/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cupel/model/model.h"
#include "model/packed_linears.h"

namespace cupel {

/// What a config asks for of one tensor.
struct ExpectedTensor {
  std::vector<int64_t> shape;
  std::optional<torch::Dtype> dtype = {};  ///< none: any that weights may have
};

/// The tensors that a config asks for, and the linear layers that are packed among them.
struct ExpectedTensors {
  std::map<std::string, ExpectedTensor> tensors;
  PackedLinears packed;
};

/// `place` is the config's file, `present` the number of tensors that there are: a config that
/// claims far more is not followed to its end. FormatError for a quantization_config that does not
/// fit the model.
ExpectedTensors expected_tensors(const ModelConfig& config, const Architecture& architecture,
                                 std::size_t present, const std::string& place);

}  // namespace cupel
