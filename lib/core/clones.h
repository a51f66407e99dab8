#pragma once

#include <bit>
#include <cstdint>

// Compiles a function for several instruction sets; GCC and ld.so choose one when the library is
// loaded.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define CUPEL_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define CUPEL_CLONES
#endif

namespace cupel {

// x where `keep`, else 0, in a form that compilers make vectors of.
inline __attribute__((always_inline)) float kept_or_zero(float x, bool keep) {
  return std::bit_cast<float>(std::bit_cast<int32_t>(x) & -static_cast<int32_t>(keep));
}

}  // namespace cupel
