// One kernel in the instructions of each kind of processor; which one runs is decided at run time.
#include "compress/sweep_kernel.h"

#include <new>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CUPEL_SWEEP_X86 1
#endif

// The helpers of a kernel are of its namespace and of this file alone.
namespace cupel {

namespace {

namespace baseline {
#define CUPEL_SWEEP_WIDTH 4
#include "compress/sweep_kernel_body.h"
#undef CUPEL_SWEEP_WIDTH
bool supported() { return true; }
}  // namespace baseline

#ifdef CUPEL_SWEEP_X86
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define CUPEL_SWEEP_WIDTH 8
#include "compress/sweep_kernel_body.h"
#undef CUPEL_SWEEP_WIDTH
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq")
namespace avx512 {
#define CUPEL_SWEEP_WIDTH 16
#include "compress/sweep_kernel_body.h"
#undef CUPEL_SWEEP_WIDTH
}  // namespace avx512
#pragma GCC pop_options
#endif

}  // namespace

const SweepKernel sweep_kernels[] = {
    {"baseline", baseline::supported, baseline::run},
#ifdef CUPEL_SWEEP_X86
    {"avx2", has_avx2, avx2::run},
    {"avx512", has_avx512, avx512::run},
#endif
};
const int sweep_kernel_count = sizeof(sweep_kernels) / sizeof(sweep_kernels[0]);

const SweepKernel& sweep_kernel() {
  static const SweepKernel* const best = [] {
    const SweepKernel* found = sweep_kernels;
    for (const auto& kernel : sweep_kernels) {
      if (kernel.supported()) found = &kernel;
    }
    return found;
  }();
  return *best;
}

}  // namespace cupel
