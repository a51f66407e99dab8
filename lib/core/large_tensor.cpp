#include "core/large_tensor.h"

#include <ATen/Functions.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace cupel {

#ifdef __linux__

namespace {

// Below it malloc uses memory again that it has had before.
constexpr size_t kLarge = size_t{32} << 20;
constexpr size_t kHugePage = size_t{2} << 20;

size_t bytes_of(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const size_t entry = c10::elementSize(c10::typeMetaToScalarType(options.dtype()));
  return static_cast<size_t>(c10::multiply_integers(sizes)) * entry;
}

bool is_large(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return options.device().is_cpu() && bytes_of(sizes, options) >= kLarge;
}

// Advice: where the system has no huge pages, the small ones do.
void advise_huge_pages(void* begin, size_t bytes) {
  const auto first = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t aligned = (first + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (first + bytes) / kHugePage * kHugePage;
  if (end > aligned) madvise(reinterpret_cast<void*>(aligned), end - aligned, MADV_HUGEPAGE);
}

}  // namespace

torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  auto made = at::empty(sizes, options);
  if (is_large(sizes, options)) advise_huge_pages(made.mutable_data_ptr(), made.nbytes());
  return made;
}

torch::Tensor large_zeros(at::IntArrayRef sizes, const at::TensorOptions& options) {
  if (!is_large(sizes, options)) return at::zeros(sizes, options);
  const size_t bytes = bytes_of(sizes, options);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return at::zeros(sizes, options);  // which says what is wrong
  advise_huge_pages(memory, bytes);
  return at::from_blob(memory, sizes, [bytes](void* at) { munmap(at, bytes); }, options);
}

#else

torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return at::empty(sizes, options);
}

torch::Tensor large_zeros(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return at::zeros(sizes, options);
}

#endif

}  // namespace cupel
