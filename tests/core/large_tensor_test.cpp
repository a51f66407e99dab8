#include "core/large_tensor.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

using namespace cupel;

TEST_CASE("large_zeros: zeros of any size that can be written, kept and let go") {
  for (const int64_t rows : {0, 3, 2048, 4099}) {
    torch::Tensor kept;
    {
      const auto made = large_zeros({rows, 2048}, at::TensorOptions(at::kFloat));
      CHECK(made.sizes() == at::IntArrayRef({rows, 2048}));
      CHECK(made.is_contiguous());
      CHECK(at::equal(made, at::zeros({rows, 2048})));
      made.fill_(3);
      kept = made.slice(0, rows / 2);
    }
    CHECK((kept == 3).all().item<bool>());
  }
  CHECK(large_zeros({4096, 2048}, at::TensorOptions(at::kDouble)).scalar_type() == at::kDouble);
}

TEST_CASE("large_empty: memory of any size that can be written and resized") {
  for (const int64_t rows : {0, 3, 4099}) {
    const auto made = large_empty({rows, 2048}, at::TensorOptions(at::kFloat));
    made.fill_(3);
    CHECK((made == 3).all().item<bool>());
    made.resize_({rows + 1, 2048});
    CHECK((made.slice(0, 0, rows) == 3).all().item<bool>());
  }
}
