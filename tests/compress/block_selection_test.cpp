#include "compress/block_selection.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <limits>

#include "support/catch.h"

#include "compress/hessian_factor.h"
#include "cupel/compress/column_sweep.h"
#include "cupel/core/error.h"
#include "support/layer.h"

using namespace cupel;
using Catch::Contains;
using cupel::test::Layer;
using cupel::test::seeded_normal;

namespace {

constexpr int64_t kTile = 32;

torch::Tensor chosen(const torch::Tensor& weight, const torch::Tensor& importance,
                     const torch::Tensor& keep, int64_t count) {
  const int64_t rows = weight.size(0);
  BlockSelection selection(rows, kTile, "layer");
  selection.begin(weight, importance, keep);
  for (int64_t row = 0; row < rows; row += kTile) {
    selection.score(row, std::min(rows, row + kTile));
  }
  selection.choose(count);
  if (!selection.divides_ties()) {
    const auto above = (weight.abs() * importance).view(at::kInt) > selection.threshold();
    return keep.defined() ? at::logical_and(above, keep) : above;
  }
  auto mask = keep.defined() ? keep.clone() : at::empty(weight.sizes(), at::kBool);
  for (int64_t row = 0; row < rows; row += kTile) {
    selection.write(mask, row, std::min(rows, row + kTile));
  }
  return mask;
}

}  // namespace

TEST_CASE("BlockSelection: what keep_mask says of the scores, at any count, with ties") {
  const int64_t rows = 100, columns = 61, size = rows * columns;
  auto weight = seeded_normal({rows, columns + 7}, 1).slice(1, 2, 2 + columns);
  weight.slice(0, 0, 50).mul_(2).round_();  // many ties, zeros of both signs
  weight[70].mul_(1e-42);
  weight[71].fill_(3e38);
  const auto importance = seeded_normal({columns}, 2).abs().round().add_(0.5);
  const auto earlier = seeded_normal({rows, columns}, 3) > -0.5;
  for (const auto& keep : {torch::Tensor(), earlier}) {
    const auto scores = weight.abs() * importance;
    const auto compared =
        keep.defined() ? at::where(keep, scores,
                                   at::full_like(scores, -std::numeric_limits<float>::infinity()))
                       : scores;
    for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{700}, size / 2, size - 1, size}) {
      INFO("count " << count << " after others " << keep.defined());
      auto expected = keep_mask(compared, {.count = count}, Scope::matrix);
      if (keep.defined()) expected = at::logical_and(expected, keep);
      CHECK(at::equal(chosen(weight, importance, keep, count), expected));
    }
  }
}

TEST_CASE("BlockSelection: a score that is not a number names its place") {
  auto weight = seeded_normal({70, 20}, 4);
  weight[65][7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(chosen(weight, at::ones({20}), {}, 9), NumericalError);
  CHECK_THROWS_WITH(chosen(weight, at::ones({20}), {}, 9), Contains("row 65, column 7 in layer"));
  CHECK_THROWS_AS(chosen(weight.nan_to_num(), at::ones({20}), {}, 1401), std::invalid_argument);
}

TEST_CASE("column_sweep: counting weights off a block is selecting them") {
  const Layer layer(300, 200, 5);
  ColumnSweep sweep;
  sweep.weight = layer.weight;
  sweep.factor = upper_factor(layer.damped_hessian(0.01).to(at::kFloat));
  sweep.importance = sweep.factor.diagonal().contiguous();
  const auto half = [](int64_t begin, int64_t end) { return (end - begin) * 300 / 2; };
  for (const auto& keep : {torch::Tensor(), seeded_normal({300, 200}, 6) > -1}) {
    for (const int64_t block : {1, 48, 128}) {
      INFO("block " << block << " after others " << keep.defined());
      sweep.block = block;
      sweep.keep = keep;
      auto other = sweep;
      sweep.count = half;
      other.select = [&](const SweepColumns& at) {
        auto scores = at.weight.abs() * sweep.importance.slice(0, at.begin, at.end);
        if (keep.defined()) {
          scores = at::where(keep.slice(1, at.begin, at.end), scores,
                             at::full_like(scores, -std::numeric_limits<float>::infinity()));
        }
        return keep_mask(scores, {.count = half(at.begin, at.end)}, Scope::matrix);
      };
      const auto made = column_sweep(sweep), expected = column_sweep(other);
      sweep.count = {};
      CHECK(at::equal(made.mask, expected.mask));
      CHECK(at::equal(made.weight, expected.weight));
    }
  }
}
