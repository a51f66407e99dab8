#include <algorithm>

#include "cupel/checkpoint/packing.h"
#include "cupel/core/check.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

constexpr int64_t kWord = 32;
constexpr int64_t kGrain = 1 << 16;  // codes a task, so that threads are worth their start

void check_arguments(const char* function, const torch::Tensor& tensor, torch::Dtype dtype,
                     int64_t bits, int64_t dim) {
  check(bits >= 1 && bits <= 8, function, "bits must be between 1 and 8. Got ", bits, ".");
  check(dim == 0 || dim == 1, function, "dim is 0 or 1. Got ", dim, ".");
  check(tensor.defined() && tensor.dim() == 2 && tensor.scalar_type() == dtype, function,
        "a matrix of ", dtype, " is needed. Got ",
        tensor.defined() ? c10::str(tensor.scalar_type(), " ", tensor.sizes()) : "none", ".");
}

// Both directions keep at most 32 + 7 bits of the stream in `stream`.
void pack_row(const uint8_t* codes, int64_t count, int64_t bits, uint32_t* words) {
  uint64_t stream = 0;
  int64_t held = 0;
  for (int64_t i = 0; i < count; ++i) {
    stream |= static_cast<uint64_t>(codes[i]) << held;
    held += bits;
    if (held < kWord) continue;
    *words++ = static_cast<uint32_t>(stream);
    stream >>= kWord;
    held -= kWord;
  }
  if (held > 0) *words = static_cast<uint32_t>(stream);
}

// False when bits are set after the last code.
bool unpack_row(const uint32_t* words, int64_t count, int64_t bits, uint8_t* codes) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  uint64_t stream = 0;
  int64_t held = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (held < bits) {
      stream |= static_cast<uint64_t>(*words++) << held;
      held += kWord;
    }
    codes[i] = static_cast<uint8_t>(stream & mask);
    stream >>= bits;
    held -= bits;
  }
  return stream == 0;
}

}  // namespace

int64_t packed_words(int64_t count, int64_t bits) { return (count * bits + kWord - 1) / kWord; }

torch::Tensor pack_bits(const torch::Tensor& codes, int64_t bits, int64_t dim) {
  check_arguments("pack_bits", codes, torch::kUInt8, bits, dim);
  if (dim == 0) return pack_bits(codes.t(), bits).t().contiguous();
  if (codes.numel() > 0) {
    const int64_t largest = codes.max().item<int64_t>();
    check(largest < (int64_t{1} << bits), "pack_bits", "codes must be below 2^", bits, ". Got ",
          largest, ".");
  }
  const auto from = codes.cpu().contiguous();
  const int64_t rows = from.size(0), count = from.size(1), width = packed_words(count, bits);
  auto words = torch::empty({rows, width}, torch::kInt32);
  const auto* source = from.const_data_ptr<uint8_t>();
  auto* target = reinterpret_cast<uint32_t*>(words.data_ptr<int32_t>());
  parallel_for(rows, kGrain / std::max<int64_t>(count, 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      pack_row(source + row * count, count, bits, target + row * width);
  });
  return words;
}

torch::Tensor unpack_bits(const torch::Tensor& words, int64_t bits, int64_t count, int64_t dim) {
  constexpr const char* here = "unpack_bits";
  check_arguments(here, words, torch::kInt32, bits, dim);
  check(count >= 0 && words.size(dim) == packed_words(count, bits), here, count, " codes of ", bits,
        " bits need ", packed_words(count, bits), " words. Got ", words.sizes(), ".");
  if (dim == 0) return unpack_bits(words.t(), bits, count).t().contiguous();
  const auto from = words.cpu().contiguous();
  const int64_t rows = from.size(0), width = from.size(1);
  auto codes = torch::empty({rows, count}, torch::kUInt8);
  const auto* source = reinterpret_cast<const uint32_t*>(from.const_data_ptr<int32_t>());
  auto* target = codes.data_ptr<uint8_t>();
  parallel_for(rows, kGrain / std::max<int64_t>(count, 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      check(unpack_row(source + row * width, count, bits, target + row * count), here,
            "bits after the last code must be zero. Got others in stream ", row, ".");
    }
  });
  return codes;
}

}  // namespace cupel
