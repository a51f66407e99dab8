#pragma once

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

namespace cupel::testing {

/// Requires |got - want| <= atol + rtol * |want| everywhere; says where it first fails and by how
/// much the two differ at most.
inline void require_close(const torch::Tensor& got, const torch::Tensor& want, double atol,
                          double rtol = 0) {
  REQUIRE(got.defined());
  INFO("got " << got.sizes() << ", want " << want.sizes());
  REQUIRE(got.sizes() == want.sizes());
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  const auto difference = (a - b).abs();
  const auto bad = (difference <= atol + rtol * b.abs()).logical_not().reshape({-1}).nonzero();
  if (bad.size(0) == 0) {
    SUCCEED();
    return;
  }
  const int64_t first = bad[0].item<int64_t>();
  FAIL(bad.size(0) << " of " << got.numel() << " values differ; first at flat index " << first
                   << ": got " << a.reshape({-1})[first].item<double>() << ", want "
                   << b.reshape({-1})[first].item<double>() << "; largest difference "
                   << difference.max().item<double>());
}

}  // namespace cupel::testing
