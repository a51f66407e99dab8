// Single steps of the solvers beside the rate of a matrix product in the same run, one JSON object a
// line: name, size, seconds (median, least, most), GFLOP/s, share of the product's rate.
//
//   kernel_speed [--size N] [--repeats N] [--only NAME]
//
// Under callgrind, --repeats 1 --only NAME counts the instructions of one step: no noise can fake them.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "compress/prune_rows.h"
#include "compress/select_lowest.h"
#include "compress/sweep_block.h"
#include "compress/upper_factor.h"
#include "cupel/calibration/input_stats.h"
#include "cupel/compress/column_sweep.h"

using namespace cupel;

namespace {

struct Step {
  std::string name;
  double flops;  // 0 = no arithmetic to speak of
  std::function<void()> run;
};

torch::Tensor normal(torch::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kFloat));
}

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  return passed.count();
}

double median(std::vector<double> times) {
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// A block of 128 columns in the kernel of one kind of processor, on this thread.
BlockTask block_of(const torch::Tensor& weight, const torch::Tensor& factor, bool masked,
                   int64_t bits) {
  const int64_t rows = weight.size(0), columns = kFactorTile;
  BlockTask task;
  task.weight = task.original = weight.slice(1, 0, columns);
  task.inverse = upper_inverse(factor.slice(0, 0, columns).slice(1, 0, columns));
  task.diagonal = factor.diagonal().slice(0, 0, columns).contiguous();
  task.change = at::empty({rows, columns});
  task.loss = at::zeros({rows}, at::kDouble);
  task.masked = masked;
  if (masked) {
    task.mask = at::ones({rows, columns}, at::kBool);
    task.n = 2;
    task.m = 4;
    task.importance = at::ones({columns});
  }
  task.bits = bits;
  if (bits > 0) {
    task.scales = at::full({rows, 1}, 0.3);
    task.zeros = at::full({rows, 1}, 8.0);
    task.group_index = at::zeros({columns}, at::kInt);
    task.codes = at::empty({rows, columns}, at::kByte);
  }
  return task;
}

std::vector<Step> steps_of(int64_t size) {
  const double cube = static_cast<double>(size) * static_cast<double>(size) * size;
  const auto x = normal({size, size}, 1), weight = normal({size, size}, 2);
  const auto matrix = std::make_shared<torch::Tensor>(x.t().matmul(x) / size + at::eye(size));
  const auto factor = upper_factor({.matrix = *matrix});
  std::vector<Step> steps;
  steps.push_back({"factor", cube / 3, [=] { upper_factor({.matrix = *matrix}); }});
  const auto corner = matrix->slice(0, 0, kFactorTile).slice(1, 0, kFactorTile).contiguous();
  const double tile = static_cast<double>(kFactorTile) * kFactorTile * kFactorTile;
  steps.push_back({"factor tile", tile * 2 / 3, [=] {
                     const auto upper = corner.clone();
                     factor_tile(upper);
                     invert_tile(upper);
                   }});
  const auto sweep = [=](int64_t m, int64_t bits) {
    ColumnSweep made;
    made.weight = weight;
    made.factor = factor.upper;
    made.inverses = factor.inverses;
    made.importance = factor.upper.diagonal().contiguous();
    made.m = m;
    made.n = m / 2;
    if (bits > 0) {
      made.grid.bits = bits;
      made.grid.scales = at::full({size, 1}, 0.3);
      made.grid.zeros = at::full({size, 1}, 8.0);
      made.grid.group_index = at::zeros({size}, at::kInt);
    }
    column_sweep(made);
  };
  steps.push_back({"sweep 2:4", cube, [=] { sweep(4, 0); }});
  steps.push_back({"sweep 4 bit", cube, [=] { sweep(0, 4); }});
  for (int i = 0; i < sweep_kernel_count; ++i) {
    const SweepKernel& kernel = sweep_kernels[i];
    if (!kernel.supported()) continue;
    const double flops = static_cast<double>(size) * kFactorTile * kFactorTile;
    for (const bool masked : {false, true}) {
      const auto task = block_of(weight, factor.upper, masked, masked ? 0 : 4);
      steps.push_back({std::string("block ") + (masked ? "2:4 " : "4 bit ") + kernel.name, flops,
                       [=, &kernel] { sweep_rows_cpu(task, 0, size, kernel); }});
    }
  }
  steps.push_back({"statistics", cube, [=] { InputStats(size).add(x); }});
  const auto small = x.to(at::kBFloat16);
  steps.push_back({"statistics bfloat16", cube, [=] { InputStats(size).add(small); }});
  const auto norms = x.square().sum(0).sqrt();
  RowRule half;
  half.counts.assign(size, size / 2);
  steps.push_back({"prune rows", 0, [=] { prune_rows(weight, norms, {}, half, ""); }});
  const auto keep = std::make_shared<torch::Tensor>(at::empty({size, size}, at::kBool));
  const float* scores = x.const_data_ptr<float>();
  steps.push_back({"select in the matrix", 0, [=] {
                     keep_all_but_lowest(scores, keep->mutable_data_ptr<bool>(), size * size,
                                         size * size / 2, false);
                   }});
  steps.push_back({"select 2:4", 0, [=] {
                     keep_all_but_lowest_of_m(scores, keep->mutable_data_ptr<bool>(),
                                              size * size / 4, 4, 2, false);
                   }});
  // The functions hold handles; these keep the memory that raw pointers lead to.
  steps.push_back({"product", 2 * cube, [=] { at::mm(x, weight); }});
  return steps;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t size = 2048;
  int repeats = 5;
  std::string only;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--size") size = std::stoll(argv[i + 1]);
    if (option == "--repeats") repeats = std::stoi(argv[i + 1]);
    if (option == "--only") only = argv[i + 1];
  }
  const at::NoGradGuard no_grad;
  const auto a = normal({1024, 1024}, 3), b = normal({1024, 1024}, 4);
  const auto product = [&] { at::mm(a, b); };
  for (const auto& step : steps_of(size)) {
    if (!only.empty() && step.name != only) continue;
    std::vector<double> times, products;
    if (repeats > 1) {  // once for the caches
      step.run();
      product();
    }
    for (int i = 0; i < repeats; ++i) {
      times.push_back(seconds_of(step.run));
      products.push_back(seconds_of(product));
    }
    const double rate = 2.0 * 1024 * 1024 * 1024 / median(products);
    const double made = step.flops / median(times);
    std::printf(
        "{\"name\": \"%s\", \"size\": %lld, \"threads\": %d, \"median\": %.6f, \"least\": %.6f, "
        "\"most\": %.6f, \"gflops\": %.2f, \"of_product\": %.3f}\n",
        step.name.c_str(), static_cast<long long>(size), at::get_num_threads(), median(times),
        *std::min_element(times.begin(), times.end()),
        *std::max_element(times.begin(), times.end()), made / 1e9, made / rate);
    std::fflush(stdout);
  }
}
