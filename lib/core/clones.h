#pragma once

// Compiles a function for several instruction sets; GCC and ld.so choose one when the library is
// loaded.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define CUPEL_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define CUPEL_CLONES
#endif
