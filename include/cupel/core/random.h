#pragma once

#include <array>
#include <cstdint>

namespace cupel {

/// Python's `random.Random(seed)` for non-negative integer seeds: MT19937, init_by_array, so that
/// published sampling (random.seed, random.randint) is reproduced draw for draw.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  uint32_t next_u32();                         ///< getrandbits(32)
  uint64_t below(uint64_t n);                  ///< _randbelow(n), n >= 1
  int64_t randint(int64_t low, int64_t high);  ///< inclusive at both ends, as Python's
  double uniform();                            ///< random(): 53 bits in [0, 1)

 private:
  std::array<uint32_t, 624> state_;
  int index_ = 624;
};

}  // namespace cupel
