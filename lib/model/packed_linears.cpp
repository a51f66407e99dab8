#include "model/packed_linears.h"

#include <ATen/Functions.h>

#include "cupel/core/check.h"

namespace cupel {

namespace {

Quantized to_device(Quantized quantized, torch::Device device) {
  for (auto* part : {&quantized.codes, &quantized.scales, &quantized.zeros, &quantized.group_index})
    *part = part->to(device);
  return quantized;
}

/// Does `weight` hold what its codes stand for? std::invalid_argument when these are no codes.
bool reproduces(const Quantized& quantized, const torch::Tensor& weight, const std::string& name) {
  try {
    return dequantize(quantized).to(weight.scalar_type()).equal(weight);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(c10::str(error.what(), " Layer ", name, "."));
  }
}

}  // namespace

std::string layer_of(const std::string& weight) {
  return weight.substr(0, weight.size() - std::string(".weight").size());
}

Architecture read_packed_blocks(Architecture architecture,
                                std::shared_ptr<const CheckpointReader> reader,
                                PackedLinears packed, torch::Dtype dtype, torch::Device device) {
  architecture.make_block = [=, dense_block = architecture.make_block](
                                const ModelConfig& config, int64_t layer,
                                const WeightSource& weights) {
    auto block = dense_block(config, layer, weights);
    for (int64_t stage = 0; stage < block->stages(); ++stage) {
      for (const auto& [name, linear] : block->linears(stage)) {
        const auto found = packed.find(name + ".weight");
        // A meta tensor: somebody only asks for names and shapes.
        if (found == packed.end() || linear->weight().is_meta()) continue;
        const auto& [scheme, out, in] = found->second;
        const auto quantized = to_device(read_packed(*reader, scheme, name, out, in), device);
        linear->set_compressed(dequantize(quantized).to(dtype), {}, quantized);
      }
    }
    return block;
  };
  return architecture;
}

std::map<std::string, LinearToPack> linears_to_pack(Block& block, torch::Dtype dtype) {
  std::map<std::string, LinearToPack> linears;
  for (int64_t stage = 0; stage < block.stages(); ++stage) {
    for (const auto& [name, linear] : block.linears(stage)) {
      const Quantized quantized = linear->quantized();
      if (!quantized.defined()) continue;
      check(reproduces(quantized, linear->weight(), name), "save_model",
            "a weight must be (code - zero) * scale in float32, cast to its dtype. Got others in ",
            name, "; a compressor returns the weight that its codes stand for.");
      linears.emplace(name, LinearToPack{pack_scheme(quantized, dtype, name), quantized});
    }
  }
  return linears;
}

}  // namespace cupel
