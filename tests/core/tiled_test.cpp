#include "cupel/core/tiled.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <cmath>

#include "support/catch.h"

using namespace cupel;

namespace {

torch::Tensor normal(torch::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kFloat));
}

}  // namespace

TEST_CASE("tiled products are products") {
  for (const auto& [rows, inner, columns] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {1, 1, 1}, {3, 0, 5}, {257, 40, 300}, {600, 7, 24}}) {
    const auto a = normal({rows, inner}, 1), b = normal({inner, columns}, 2);
    INFO(rows << " x " << inner << " x " << columns);
    CHECK(at::allclose(tiled_matmul(a, b), a.matmul(b), 1e-4, 1e-4));
    const auto whole = normal({rows, columns + 4}, 3), out = whole.clone();
    tiled_addmm_(out.slice(1, 2, columns + 2), a, b, -0.5);
    CHECK(at::allclose(out.slice(1, 2, columns + 2),
                       whole.slice(1, 2, columns + 2) - 0.5 * a.matmul(b), 1e-4, 1e-4));
    CHECK(at::equal(out.slice(1, 0, 2), whole.slice(1, 0, 2)));  // nothing beside the slice
  }
}

TEST_CASE("tiled_gram_ fills the upper triangle, mirror_upper_ the rest") {
  for (const int64_t n : {1, 16, 255, 256, 300, 530}) {
    const auto x = normal({40, n}, 4);
    const auto gram = at::zeros({n, n});
    tiled_gram_(gram, x);
    mirror_upper_(gram);
    INFO(n);
    CHECK(at::allclose(gram, x.t().matmul(x), 1e-4, 1e-4));
    CHECK(at::equal(gram, gram.t()));
  }
}

TEST_CASE("tiled_gram_ adds products of any size, times a factor") {
  for (const int64_t n : {257, 1040, 2100}) {
    const auto x = normal({33, n}, 8);
    const auto gram = at::ones({n, n}), whole = 1 + 0.25 * x.t().matmul(x);
    tiled_gram_(gram, x, 0.25);
    INFO(n);
    CHECK(at::allclose(gram.triu(), whole.triu(), 1e-4, 1e-4));
  }
}

TEST_CASE("tiled_gram_ of bfloat16 sums the exact products in float32") {
  for (const auto& [tokens, n] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {37, 128}, {600, 129}, {1025, 530}}) {
    const auto x = normal({tokens, n}, 9).to(at::kBFloat16);
    const auto wide = x.to(at::kDouble), whole = 0.5 * wide.t().matmul(wide);
    const auto gram = at::zeros({n, n});
    tiled_gram_(gram, x, 0.5);
    mirror_upper_(gram);
    INFO(tokens << " x " << n);
    CHECK((gram.to(at::kDouble) - whole).abs().max().item<double>() <= 2e-4 * std::sqrt(tokens));
    const int before = at::get_num_threads();
    at::set_num_threads(1);
    const auto one = at::zeros({n, n});
    tiled_gram_(one, x, 0.5);
    at::set_num_threads(before);
    CHECK(at::equal(one.triu(), gram.triu()));
  }
}

TEST_CASE(
    "tiled products are the same bytes for any number of threads, and for any order of rows") {
  const auto a = normal({258, 200}, 5), b = normal({200, 130}, 6);
  const auto order =
      at::randperm(258, at::detail::createCPUGenerator(7), at::TensorOptions(at::kLong));
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = tiled_matmul(a, b);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(at::equal(tiled_matmul(a, b), one));
  }
  CHECK(at::equal(tiled_matmul(a.index_select(0, order), b), one.index_select(0, order)));
  // A BLAS splits few rows of long sums by the threads that it was promised, if it is not told better.
  const auto few = normal({32, 4096}, 8), long_sums = normal({4096, 512}, 9);
  at::set_num_threads(1);
  const auto alone = tiled_matmul(few, long_sums);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(at::equal(tiled_matmul(few, long_sums), alone));
  }
  at::set_num_threads(before);
}
