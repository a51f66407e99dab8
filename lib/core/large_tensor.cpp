#include "core/large_tensor.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "cupel/core/parallel.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace cupel {

#ifdef __linux__

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLarge = 2 * kHugePage;
constexpr size_t kMostKept = size_t{160} << 20;  // what a solve of 4096 x 4096 lets go

struct Block {
  void* begin = nullptr;
  size_t bytes = 0;
};

void unmap(const Block& block) { munmap(block.begin, block.bytes); }

// Blocks that are free.
class Kept {
 public:
  // A block of at least `least` bytes; begin is null where the system has none.
  Block take(size_t least) {
    const std::lock_guard lock(mutex_);
    const size_t bytes = (least + kHugePage - 1) / kHugePage * kHugePage;
    const size_t most = bytes + bytes / 4;
    const auto fits = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) {
      return block.bytes >= bytes && block.bytes <= most;
    });
    if (fits != blocks_.end()) {
      const Block found = *fits;
      blocks_.erase(fits);
      bytes_ -= found.bytes;
      return found;
    }
    release();
    Block made{nullptr, bytes};
    made.begin =
        mmap(nullptr, made.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made.begin == MAP_FAILED) return {};
    madvise(made.begin, made.bytes, MADV_HUGEPAGE);  // advice: small pages do as well
    return made;
  }

  void put(const Block& block) {
    const std::lock_guard lock(mutex_);
    if (bytes_ + block.bytes > kMostKept) return unmap(block);
    blocks_.push_back(block);
    bytes_ += block.bytes;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    release();
  }

 private:
  void release() {
    for (const Block& block : blocks_) unmap(block);
    blocks_.clear();
    bytes_ = 0;
  }

  std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t bytes_ = 0;
};

// Never destroyed: a tensor may outlive everything that is static.
Kept& kept() {
  static auto* blocks = new Kept;
  return *blocks;
}

}  // namespace

torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const size_t entry = c10::elementSize(c10::typeMetaToScalarType(options.dtype()));
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * entry;
  if (!options.device().is_cpu() || bytes < kLarge) return at::empty(sizes, options);
  const Block block = kept().take(bytes);
  if (!block.begin) return at::empty(sizes, options);  // which says what is wrong
  return at::from_blob(block.begin, sizes, [block](void*) { kept().put(block); }, options);
}

void release_large_memory() { kept().clear(); }

#else

torch::Tensor large_empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return at::empty(sizes, options);
}

void release_large_memory() {}

#endif

namespace {

// What the rows of a matrix need between them: nothing, or a line of the cache.
int64_t bytes_apart(int64_t row_bytes) {
  constexpr int64_t kConflict = 1024, kLine = 64;
  return row_bytes % kConflict == 0 ? kLine : 0;
}

}  // namespace

torch::Tensor large_matrix(int64_t rows, int64_t columns, const at::TensorOptions& options) {
  const auto entry =
      static_cast<int64_t>(c10::elementSize(c10::typeMetaToScalarType(options.dtype())));
  const int64_t apart = bytes_apart(columns * entry) / entry;
  return large_empty({rows, columns + apart}, options).slice(1, 0, columns);
}

torch::Tensor with_rows_apart(const torch::Tensor& matrix) {
  const int64_t entry = static_cast<int64_t>(matrix.element_size());
  if (matrix.stride(1) == 1 && bytes_apart(matrix.stride(0) * entry) == 0) return matrix;
  const auto made = large_matrix(matrix.size(0), matrix.size(1), matrix.options());
  parallel_for(matrix.size(0), 64, [&](int64_t row, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    made.slice(0, row, last).copy_(matrix.slice(0, row, last));
  });
  return made;
}

torch::Tensor large_zeros(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return large_empty(sizes, options).zero_();
}

}  // namespace cupel
