#pragma once

#include <torch/types.h>

#include <compare>
#include <string>
#include <utility>
#include <vector>

#include "cupel/checkpoint/checkpoint.h"
#include "cupel/checkpoint/packing.h"

// The layout "pack-quantized" of compressed-tensors: a weight [out, in] on a grid becomes
//   weight_packed      int32 [out, words of in]      codes, packed along the inputs
//   weight_scale       float [out, groups]           in the dtype of the model
//   weight_zero_point  int32 [words of out, groups]  packed along the outputs; not when symmetric
//   weight_shape       int64 [2]                     out, in
// Group j / group_size holds column j. The format counts codes and zero points from -2^(bits-1) and
// stores them with that added, so what it stores are the unsigned values of Quantized.
namespace cupel {

/// How the codes of one linear layer are laid out.
struct PackScheme {
  int64_t bits = 4;        ///< 4 or 8
  int64_t group = 0;       ///< columns that share a scale; 0 = the whole row
  bool symmetric = false;  ///< every zero point is 2^(bits - 1), and none is stored

  int64_t groups(int64_t columns) const { return group == 0 ? 1 : columns / group; }
  auto operator<=>(const PackScheme&) const = default;
};

/// The scheme that stores `quantized` with scales in `dtype` and nothing lost.
/// std::invalid_argument naming `layer`, and what to do, where there is none: bits other than 4 and
/// 8, a group that does not divide the columns, columns not grouped in order, scales that `dtype`
/// would round, zero points out of range.
PackScheme pack_scheme(const Quantized& quantized, torch::Dtype dtype, const std::string& layer);

/// Names, dtypes and shapes of the tensors of `layer` [out, in].
std::vector<TensorInfo> packed_tensors(const PackScheme& scheme, const std::string& layer,
                                       int64_t out, int64_t in, torch::Dtype dtype);

/// The tensors of `layer` under the names of packed_tensors(), on the CPU.
std::vector<std::pair<std::string, torch::Tensor>> pack_weight(const PackScheme& scheme,
                                                               const std::string& layer,
                                                               const Quantized& quantized,
                                                               torch::Dtype dtype);

/// Reads back what pack_weight() made. Names, dtypes and shapes must be those of packed_tensors().
/// FormatError for bits set after the last code and for scales that are not positive and finite.
Quantized read_packed(const CheckpointReader& reader, const PackScheme& scheme,
                      const std::string& layer, int64_t out, int64_t in);

/// FormatError unless the file's own weight_shape of `layer` is [out, in].
void check_weight_shape(const CheckpointReader& reader, const std::string& layer, int64_t out,
                        int64_t in);

}  // namespace cupel
