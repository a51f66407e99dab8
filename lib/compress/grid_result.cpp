#include "compress/grid_result.h"

#include "core/json.h"

namespace cupel {

void set_quantized(const LayerTask& task, const Quantized& quantized, const torch::Tensor& decoded,
                   LayerResult& result) {
  result.codes = quantized.codes;
  result.scales = quantized.scales;
  result.zeros = quantized.zeros;
  result.group_index = quantized.group_index;
  result.bits = quantized.bits;
  const auto weight = decoded.defined() ? decoded : dequantize(quantized);
  result.weight = weight.to(task.weight.scalar_type());
}

void count_packed(const Grid& grid, LayerResult& result) {
  const int64_t scale_bytes = grid.scale_dtype == "float32" ? 4 : 2;
  result.packed_bytes = static_cast<int64_t>(
      packed_bytes(result.weight, result.mask, result.quantized(), scale_bytes, grid.symmetric));
}

Grid without_inputs(const Grid& grid) {
  Grid plain = grid;
  if (plain.clip == "hessian") plain.clip = "min_max";
  return plain;
}

std::string grid_json(const Grid& grid) {
  return dump_json({{"bits", grid.bits},
                    {"group", grid.group},
                    {"symmetric", grid.symmetric},
                    {"clip", grid.clip},
                    {"scale_dtype", grid.scale_dtype}});
}

}  // namespace cupel
