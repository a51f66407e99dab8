#include "cupel/compress/column_sweep.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

#include "compress/hessian_factor.h"
#include "compress/sweep_block.h"
#include "support/layer.h"
#include "support/require_close.h"

using namespace cupel;
using cupel::test::Layer;
using cupel::test::quadratic;
using cupel::test::seeded_normal;
using cupel::testing::require_close;

namespace {

// The recursion as the papers write it, one column at a time over the whole matrix, in float64.
torch::Tensor by_the_book(const torch::Tensor& weight, const torch::Tensor& keep,
                          const torch::Tensor& factor) {
  auto w = weight.to(at::kDouble).clone();
  auto q = at::zeros_like(w);
  const auto u = at::linalg_inv(factor.to(at::kDouble));
  for (int64_t i = 0; i < w.size(1); ++i) {
    q.select(1, i).copy_(
        at::where(keep.select(1, i), w.select(1, i), at::zeros({w.size(0)}, w.options())));
    const auto error = (w.select(1, i) - q.select(1, i)) / u[i][i];
    w.slice(1, i).sub_(at::outer(error, u[i].slice(0, i)));
  }
  return q;
}

ColumnSweep masked_sweep(const Layer& layer, int64_t block, torch::Tensor keep) {
  ColumnSweep sweep;
  sweep.weight = layer.weight;
  sweep.factor = upper_factor(layer.damped_hessian(0.01).to(at::kFloat));
  sweep.block = block;
  sweep.keep = std::move(keep);
  return sweep;
}

}  // namespace

TEST_CASE("column_sweep: any block gives what the recursion of the papers gives") {
  const Layer layer(19, 70, 1);
  const auto keep = seeded_normal({19, 70}, 2) > 0;
  for (const int64_t block : {1, 7, 32, 70, 128}) {
    INFO("block " << block);
    const auto sweep = masked_sweep(layer, block, keep);
    const auto made = column_sweep(sweep);
    require_close(made.weight, by_the_book(layer.weight, keep, sweep.factor).to(at::kFloat), 2e-4);
    CHECK(at::equal(made.mask, keep));
    CHECK((made.weight.masked_select(keep.logical_not()) == 0).all().item<bool>());
    const double expected = quadratic(made.weight - layer.weight, layer.damped_hessian(0.01));
    CHECK(made.loss == Approx(expected).epsilon(1e-4));
  }
}

TEST_CASE("column_sweep: a float64 factor does the same") {
  const Layer layer(8, 40, 3);
  const auto keep = seeded_normal({8, 40}, 4) > 0;
  auto sweep = masked_sweep(layer, 16, keep);
  const auto narrow = column_sweep(sweep);
  sweep.factor = upper_factor(layer.damped_hessian(0.01));
  require_close(column_sweep(sweep).weight, narrow.weight, 1e-4);
}

TEST_CASE("column_sweep: with nothing to prune or round, nothing changes") {
  const Layer layer(5, 33, 5);
  const auto made = column_sweep(masked_sweep(layer, 8, {}));
  CHECK(at::equal(made.weight, layer.weight));
  CHECK(made.loss == 0.0);
  CHECK_FALSE(made.mask.defined());
}

TEST_CASE("column_sweep: n:m groups are never cut by blocks") {
  const Layer layer(9, 48, 6);
  for (const int64_t block : {1, 5, 6, 10, 48}) {
    auto sweep = masked_sweep(layer, block, {});
    sweep.n = 1;
    sweep.m = 4;
    sweep.importance = sweep.factor.diagonal().contiguous();
    const auto kept = column_sweep(sweep).mask.view({9, 12, 4}).sum(2);
    INFO("block " << block);
    CHECK((kept == 1).all().item<bool>());
  }
}

TEST_CASE("column_sweep: a grid fitted on the way sees the weights as they stood at its block") {
  const Layer layer(4, 24, 7);
  auto sweep = masked_sweep(layer, 8, {});
  sweep.grid.bits = 4;
  sweep.grid.group = 12;  // the second group begins inside the second block and ends with the third
  std::vector<std::pair<int64_t, torch::Tensor>> seen;
  const Grid grid{.bits = 4};
  sweep.grid.fit = [&](const SweepColumns& at) {
    seen.emplace_back(at.begin, at.weight.clone());
    CHECK(at.factor.sizes() == at::IntArrayRef({12, 12}));
    return fit_grid({at.weight, grid});
  };
  const auto made = column_sweep(sweep);
  REQUIRE(seen.size() == 2);
  CHECK(at::equal(seen[0].second, layer.weight.slice(1, 0, 12)));
  // Compensate columns 12 to 24 for the first block by hand.
  auto w = layer.weight.to(at::kDouble).clone();
  const auto u = at::linalg_inv(sweep.factor.to(at::kDouble));
  for (int64_t i = 0; i < 8; ++i) {
    const auto q = (made.codes.select(1, i) - made.zeros.select(1, 0)) * made.scales.select(1, 0);
    const auto error = (w.select(1, i) - q) / u[i][i];
    w.slice(1, i).sub_(at::outer(error, u[i].slice(0, i)));
  }
  const auto index = made.group_index.to(at::kLong);
  CHECK(at::equal(made.weight, (made.codes - made.zeros.index_select(1, index)) *
                                   made.scales.index_select(1, index)));
  CHECK(seen[1].first == 12);
  require_close(seen[1].second, w.slice(1, 12, 24).to(at::kFloat), 1e-4);
  CHECK(at::equal(made.group_index, at::floor_divide(at::arange(24), 12).to(at::kInt)));
}

TEST_CASE("column_sweep: the kernel of each processor and plain tensor operations agree") {
  const int64_t rows = 37, columns = 78;
  const Layer layer(rows, columns, 8);
  const auto factor = upper_factor(layer.damped_hessian(0.01).to(at::kFloat));
  for (const int64_t bits : {0, 3}) {
    for (const int64_t m : {0, 2, 13, 26}) {
      for (const bool lower_first : {false, true}) {
        const auto task = [&] {
          BlockTask made;
          made.weight = layer.weight.clone();
          made.weight[3].fill_(0.5);  // ties
          made.inverse = upper_inverse(factor);
          made.diagonal = factor.diagonal().contiguous();
          made.masked = true;
          made.mask = (seeded_normal({rows, columns}, 9) > -1.5);
          made.n = (m + 1) / 2;
          made.m = m;
          made.lower_first = lower_first;
          made.importance = at::ones({columns});
          made.bits = bits;
          if (bits > 0) {
            const Grid grid{.bits = bits};
            const GridValues left = fit_grid({layer.weight.slice(1, 0, 10), grid});
            const GridValues right = fit_grid({layer.weight.slice(1, 10), grid});
            made.scales = at::stack({left.scales, right.scales}, 1).contiguous();
            made.zeros = at::stack({left.zeros, right.zeros}, 1).contiguous();
            made.group_index = (at::arange(columns) >= 10).to(at::kInt);
            made.codes = at::empty({rows, columns}, at::kByte);
          }
          made.original = layer.weight;
          made.change = at::empty({rows, columns});
          made.loss = at::zeros({rows}, at::kDouble);
          return made;
        };
        const auto plain = task();
        sweep_block_tensor(plain);
        for (int i = 0; i < sweep_kernel_count; ++i) {
          const SweepKernel& kernel = sweep_kernels[i];
          if (!kernel.supported()) continue;
          INFO(kernel.name << ", " << bits << " bits, m " << m << ", lower_first " << lower_first);
          const auto made = task(), cut = task();
          sweep_rows_cpu(made, 0, rows, kernel);
          CHECK(at::equal(made.mask, plain.mask));
          require_close(made.change, plain.change, 1e-5);
          require_close(made.loss, plain.loss, 1e-5, 1e-5);
          if (bits > 0) CHECK(at::equal(made.codes, plain.codes));
          for (const auto& [begin, end] : {std::pair(0, 5), std::pair(5, 6), std::pair(6, 37)}) {
            sweep_rows_cpu(cut, begin, end, kernel);
          }
          CHECK(at::equal(cut.change, made.change));
          CHECK(at::equal(cut.loss, made.loss));
        }
      }
    }
  }
}

TEST_CASE("column_sweep: shapes that do not fit are refused") {
  const Layer layer(4, 8, 10);
  auto sweep = masked_sweep(layer, 0, {});
  CHECK_THROWS_WITH(column_sweep(sweep), Catch::Contains("at least one column"));
  sweep.block = 4;
  sweep.m = 3;
  CHECK_THROWS_WITH(column_sweep(sweep), Catch::Contains("multiple of 3"));
  sweep.m = 4;
  CHECK_THROWS_WITH(column_sweep(sweep), Catch::Contains("importance"));
  sweep.factor = at::eye(7);
  CHECK_THROWS_WITH(column_sweep(sweep), Catch::Contains("the factor is [in, in]"));
}
