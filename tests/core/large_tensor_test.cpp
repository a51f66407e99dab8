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

TEST_CASE("large_matrix, with_rows_apart: rows that do not begin in the same sets of the cache") {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const int64_t columns : {1, 128, 255, 256, 512, 1000, 4096}) {
      const auto made = large_matrix(40, columns, at::TensorOptions(dtype));
      const auto bytes = columns * static_cast<int64_t>(made.element_size());
      CHECK(made.sizes() == at::IntArrayRef({40, columns}));
      CHECK(made.stride(0) * static_cast<int64_t>(made.element_size()) ==
            bytes + (bytes % 1024 == 0 ? 64 : 0));
      const auto given = at::randn({40, columns}).to(dtype);
      const auto apart = with_rows_apart(given);
      CHECK(at::equal(apart, given));
      CHECK(apart.is_same(given) == (bytes % 1024 != 0));
      const auto columns_first = given.t().contiguous().t();
      CHECK(at::equal(with_rows_apart(columns_first), given));
    }
  }
  CHECK(with_rows_apart(at::empty({0, 256})).sizes() == at::IntArrayRef({0, 256}));
}

TEST_CASE("large_empty: a size between whole huge pages is used again too") {
  const at::TensorOptions options(at::kFloat);
  release_large_memory();
  const void* first = large_empty({1024, 1040}, options).data_ptr();  // two and a bit huge pages
  const auto again = large_empty({1024, 1040}, options);
#ifdef __linux__
  CHECK(again.data_ptr() == first);
#endif
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
