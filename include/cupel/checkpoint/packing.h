#pragma once

#include <torch/types.h>

#include <cstdint>

namespace cupel {

/// A weight on a grid: weight[o, i] == ((codes[o, i] - zeros[o, g]) * scales[o, g] in float32),
/// g = group_index[i], then cast to the weight's dtype; bit for bit.
struct Quantized {
  torch::Tensor codes;        ///< [out, in] uint8, each below 2^bits
  torch::Tensor scales;       ///< [out, groups] float32, positive
  torch::Tensor zeros;        ///< [out, groups] int32
  torch::Tensor group_index;  ///< [in] int32
  int64_t bits = 0;

  bool defined() const { return codes.defined(); }
};

/// The float32 weight that `quantized` stands for, [out, in].
torch::Tensor dequantize(const Quantized& quantized);

/// Bytes of a linear weight if it were stored packed, counted exactly: codes at `bits` bits each,
/// scales at `scale_bytes`, zero points at `bits` bits (none when symmetric), and, for a pruned
/// weight, a mask of one bit a weight plus only the kept weights. Each part is rounded up to whole
/// bytes. With neither codes nor mask: the dense bytes of the weight.
uint64_t packed_bytes(const torch::Tensor& weight, const torch::Tensor& mask,
                      const Quantized& quantized, int64_t scale_bytes = 4, bool symmetric = false);

/// Codes as a little-endian bit stream in int32 words: along `dim` (1 or 0), code j takes bits
/// [j * bits, (j + 1) * bits) of the stream, and word k holds bits [32 k, 32 k + 32), lowest bit
/// first. A code may lie in two words; bits left over in the last word are zero. uint8
/// [rows, columns], each below 2^bits, gives [rows, ceil(columns * bits / 32)], or for dim 0
/// [ceil(rows * bits / 32), columns]. std::invalid_argument for anything else.
torch::Tensor pack_bits(const torch::Tensor& codes, int64_t bits, int64_t dim = 1);

/// The `count` codes along `dim`, uint8, that pack_bits() made `words` of. std::invalid_argument
/// when `words` is not int32 of that many words, or left-over bits are not zero.
torch::Tensor unpack_bits(const torch::Tensor& words, int64_t bits, int64_t count, int64_t dim = 1);

/// ceil(count * bits / 32).
int64_t packed_words(int64_t count, int64_t bits);

}  // namespace cupel
