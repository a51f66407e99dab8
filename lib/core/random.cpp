// MT19937 (Matsumoto and Nishimura, 1998) seeded as CPython seeds it: init_by_array over the
// 32-bit limbs of the seed, least significant first.
#include "cupel/core/random.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "cupel/core/check.h"

namespace cupel {

namespace {
constexpr int kSize = 624, kShift = 397;
}

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key{static_cast<uint32_t>(seed)};
  if (seed >> 32) key.push_back(static_cast<uint32_t>(seed >> 32));
  state_[0] = 19650218u;
  for (uint32_t i = 1; i < kSize; ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  const auto mixed = [&](uint32_t i) { return state_[i - 1] ^ (state_[i - 1] >> 30); };
  uint32_t i = 1;
  std::size_t j = 0;
  const auto advance = [&] {
    if (++i == kSize) {
      state_[0] = state_[kSize - 1];
      i = 1;
    }
  };
  for (int k = std::max<int>(kSize, key.size()); k > 0; --k) {
    state_[i] = (state_[i] ^ (mixed(i) * 1664525u)) + key[j] + static_cast<uint32_t>(j);
    advance();
    j = (j + 1) % key.size();
  }
  for (int k = kSize - 1; k > 0; --k) {
    state_[i] = (state_[i] ^ (mixed(i) * 1566083941u)) - i;
    advance();
  }
  state_[0] = 0x80000000u;
}

uint32_t PythonRandom::next_u32() {
  if (index_ == kSize) {
    for (int i = 0; i < kSize; ++i) {
      const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
      state_[i] = state_[(i + kShift) % kSize] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
    }
    index_ = 0;
  }
  uint32_t y = state_[index_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

uint64_t PythonRandom::below(uint64_t n) {
  check(n >= 1, "PythonRandom", "the range must hold a number. Got size ", n, ".");
  const int bits = std::bit_width(n);
  const auto draw = [&]() -> uint64_t {  // getrandbits(bits): low words first, the last one shifted
    if (bits <= 32) return next_u32() >> (32 - bits);
    const uint64_t low = next_u32();
    return low | static_cast<uint64_t>(next_u32() >> (64 - bits)) << 32;
  };
  uint64_t r = draw();
  while (r >= n) r = draw();
  return r;
}

int64_t PythonRandom::randint(int64_t low, int64_t high) {
  check(low <= high, "PythonRandom", "randint needs low <= high. Got [", low, ", ", high, "].");
  return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
}

double PythonRandom::uniform() {
  const uint32_t a = next_u32() >> 5, b = next_u32() >> 6;
  return (a * 67108864.0 + b) / 9007199254740992.0;
}

}  // namespace cupel
