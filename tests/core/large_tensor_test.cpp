#include "core/large_tensor.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <fstream>

#include "support/catch.h"

using namespace cupel;

TEST_CASE("large_empty, large_zeros: tensors of any size that live as long as they are held") {
  for (const int64_t rows : {0, 3, 700, 4099}) {
    torch::Tensor part;
    {
      const auto made = large_zeros({rows, 2048}, at::TensorOptions(at::kFloat));
      CHECK(made.sizes() == at::IntArrayRef({rows, 2048}));
      CHECK(made.is_contiguous());
      CHECK(at::equal(made, at::zeros({rows, 2048})));
      made.fill_(3);
      part = made.slice(0, rows / 2);
    }
    const auto other = large_empty({rows, 2048}, at::TensorOptions(at::kFloat));
    other.fill_(4);
    CHECK((part == 3).all().item<bool>());
  }
  const auto wide = large_empty({1024, 2048}, at::TensorOptions(at::kDouble));
  CHECK(wide.scalar_type() == at::kDouble);
}

TEST_CASE("large_zeros: memory that was used before holds zeros again") {
  const at::TensorOptions options(at::kFloat);
  const void* first = nullptr;
  {
    const auto made = large_empty({1500, 2048}, options);
    made.fill_(7);
    first = made.data_ptr();
  }
  const auto again = large_zeros({1400, 2048}, options);
#ifdef __linux__
  CHECK(again.data_ptr() == first);
#endif
  CHECK((again == 0).all().item<bool>());
}

TEST_CASE("large_empty: memory of another size is given back before more is taken") {
  const at::TensorOptions options(at::kByte);
  const auto resident = [] {
    std::ifstream file("/proc/self/statm");
    int64_t all = 0, pages = 0;
    file >> all >> pages;
    return pages * 4096;
  };
  if (resident() == 0) return;  // only Linux says
  const int64_t size = int64_t{96} << 20;
  release_large_memory();
  const int64_t before = resident();
  for (const int64_t more : {0, 1, 2, 3}) {
    large_empty({size + more * (size / 2)}, options).fill_(1);
  }
  CHECK(resident() - before < 2 * size);  // what was larger than 160 MiB is not kept
  large_empty({size}, options).fill_(1);
  release_large_memory();
  CHECK(resident() - before < size / 2);
}
