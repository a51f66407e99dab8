#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace cupel {

/// An unsigned integer in the order of the floats; -0 equals 0.
inline __attribute__((always_inline)) uint32_t key_of(float score) {
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof(bits));
  const uint32_t positive = bits | 0x80000000u, negative = ~bits;
  const uint32_t key = static_cast<int32_t>(bits) < 0 ? negative : positive;
  return bits == 0x80000000u ? 0x80000000u : key;
}

/// Where a selection ends.
struct Threshold {
  uint32_t key = 0;   ///< of the last score to go
  int64_t below = 0;  ///< how many are less
  int64_t equal = 0;  ///< how many are equal
};

struct Bin {
  uint32_t number = 0;
  int64_t below = 0;  ///< scores in the bins before
};

/// The bin of a histogram in which the score at `index` of the sorted ones lies.
Bin find_bin(const int64_t* histogram, int64_t index);

/// The score at `index` (>= 0) of the sorted keys, which are used up. The leading `known` bits are the same in
/// all of them.
Threshold threshold_of(std::vector<uint32_t>& keys, int64_t index, int known);

}  // namespace cupel
