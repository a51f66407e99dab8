#pragma once

#include <map>
#include <memory>
#include <string>

#include "checkpoint/pack_quantized.h"
#include "cupel/model/model.h"

namespace cupel {

/// A linear layer [out, in] that a checkpoint stores packed.
struct PackedLinear {
  PackScheme scheme;
  int64_t out = 0, in = 0;
};

/// By the name of the dense weight ("model.layers.0.mlp.up_proj.weight").
using PackedLinears = std::map<std::string, PackedLinear>;

/// "x" of "x.weight".
std::string layer_of(const std::string& weight);

/// `architecture` with blocks whose `packed` linears are read from `reader`: codes, and the weight
/// that they stand for in `dtype`. Its weight source may give anything of the right shape for them.
Architecture read_packed_blocks(Architecture architecture,
                                std::shared_ptr<const CheckpointReader> reader,
                                PackedLinears packed, torch::Dtype dtype, torch::Device device);

/// A linear layer of a block that is to be stored packed.
struct LinearToPack {
  PackScheme scheme;
  Quantized quantized;
};

/// The quantized linears of a block by name. std::invalid_argument naming the layer when one cannot
/// be stored in `dtype` so that the same weight comes back.
std::map<std::string, LinearToPack> linears_to_pack(Block& block, torch::Dtype dtype);

}  // namespace cupel
