#include "cupel/compress/allocation.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "cupel/core/check.h"

namespace cupel {

namespace {

void check_sparsity(const char* function, double sparsity) {
  check(sparsity >= 0 && sparsity <= 1, function, "sparsity is a fraction in [0, 1]. Got ",
        sparsity, ".");
}

int64_t fraction_of(double sparsity, int64_t weights) {
  return static_cast<int64_t>(sparsity * static_cast<double>(weights));
}

// Calls body(bits) for each |w|: the bits of a non-negative float are ordered as the floats are.
template <typename Body>
void for_each_magnitude(const torch::Tensor& weight, const Body& body) {
  const auto values = weight.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* data = values.const_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    body(std::bit_cast<uint32_t>(data[i]) & 0x7fffffffu);
  }
}

// Where the `rank`-th (from 0) of the counted values lies; `rank` becomes its rank within the bin.
uint32_t find_bin(const std::vector<int64_t>& histogram, int64_t& rank) {
  uint32_t bin = 0;
  while (rank >= histogram[bin]) rank -= histogram[bin++];
  return bin;
}

// Two passes of a radix selection, then one that counts: no copy of the weights is made.
std::vector<int64_t> global_counts(const AllocationInput& input, double sparsity) {
  int64_t all = 0;
  for (const auto& layer : input.layers) all += layer.weights();
  const int64_t total = fraction_of(sparsity, all);
  std::vector<int64_t> counts(input.layers.size(), 0);
  if (total == 0) return counts;
  std::vector<int64_t> high(1 << 16, 0), low(1 << 16, 0);
  input.for_each(Needs::none,
                 [&](const LayerShape&, const torch::Tensor& weight, const InputStats&) {
                   for_each_magnitude(weight, [&](uint32_t bits) { ++high[bits >> 16]; });
                 });
  int64_t rank = total - 1;
  const uint32_t top = find_bin(high, rank);
  input.for_each(Needs::none,
                 [&](const LayerShape&, const torch::Tensor& weight, const InputStats&) {
                   for_each_magnitude(weight, [&](uint32_t bits) {
                     if (bits >> 16 == top) ++low[bits & 0xffff];
                   });
                 });
  const uint32_t threshold = top << 16 | find_bin(low, rank);
  std::vector<int64_t> ties(input.layers.size(), 0);
  std::size_t index = 0;
  input.for_each(Needs::none,
                 [&](const LayerShape&, const torch::Tensor& weight, const InputStats&) {
                   for_each_magnitude(weight, [&](uint32_t bits) {
                     counts[index] += bits < threshold;
                     ties[index] += bits == threshold;
                   });
                   ++index;
                 });
  int64_t left = rank + 1;  // of those equal to the threshold; the last layers give them
  for (std::size_t i = counts.size(); i-- > 0 && left > 0;) {
    const int64_t taken = std::min(left, ties[i]);
    counts[i] += taken;
    left -= taken;
  }
  return counts;
}

// Share of the scores [..] of a block that exceed `multiple` times their mean.
double outlier_share(const std::vector<torch::Tensor>& scores, double multiple) {
  double sum = 0, count = 0, outliers = 0;
  for (const auto& s : scores) {
    sum += s.sum(at::kDouble).item<double>();
    count += static_cast<double>(s.numel());
  }
  const double bound = multiple * sum / count;
  for (const auto& s : scores) outliers += static_cast<double>((s > bound).sum().item<int64_t>());
  return outliers / count;
}

std::vector<int64_t> owl_counts(const AllocationInput& input, double sparsity,
                                const OwlOptions& options) {
  struct BlockShare {
    int64_t block;
    double weights, share;
  };
  std::vector<BlockShare> blocks;
  std::vector<torch::Tensor> scores;
  const auto close = [&] {
    if (!scores.empty()) blocks.back().share = outlier_share(scores, options.multiple);
    scores.clear();
  };
  input.for_each(Needs::sq_norm, [&](const LayerShape& layer, const torch::Tensor& weight,
                                     const InputStats& stats) {
    if (blocks.empty() || blocks.back().block != layer.block) {
      close();
      blocks.push_back({layer.block, 0, 0});
    }
    blocks.back().weights += static_cast<double>(layer.weights());
    scores.push_back(weight.to(at::kFloat).abs() * stats.sq_norm().sqrt().to(weight.device()));
  });
  close();
  const auto [least, most] = std::minmax_element(
      blocks.begin(), blocks.end(),
      [](const BlockShare& a, const BlockShare& b) { return a.share < b.share; });
  const double low = least->share, width = most->share - least->share;
  double mean = 0, weights = 0;
  for (auto& block : blocks) {
    block.share = width > 0 ? (block.share - low) / width * 2 * options.range : 0.0;
    mean += block.share * block.weights;
    weights += block.weights;
  }
  mean /= weights;
  std::vector<int64_t> counts;
  auto at = blocks.begin();
  for (const auto& layer : input.layers) {
    if (at->block != layer.block) ++at;
    const double pruned = std::clamp(sparsity - (at->share - mean), 0.0, 1.0);
    counts.push_back(fraction_of(pruned, layer.weights()));
  }
  return counts;
}

}  // namespace

Allocation uniform(double sparsity) {
  check_sparsity("uniform", sparsity);
  return per_layer(c10::str("uniform ", sparsity * 100, "%"),
                   [=](const LayerShape& layer) { return fraction_of(sparsity, layer.weights()); });
}

Allocation global_magnitude(double sparsity) {
  check_sparsity("global_magnitude", sparsity);
  return {c10::str("global magnitude ", sparsity * 100, "%"),
          [=](const AllocationInput& input) { return global_counts(input, sparsity); }};
}

Allocation owl(double sparsity, OwlOptions options) {
  check_sparsity("owl", sparsity);
  check(options.multiple > 0, "owl", "multiple is positive. Got ", options.multiple, ".");
  check(options.range >= 0 && options.range <= 1, "owl", "range lies in [0, 1]. Got ",
        options.range, ".");
  return {
      c10::str("owl ", sparsity * 100, "% (M ", options.multiple, ", range ", options.range, ")"),
      [=](const AllocationInput& input) { return owl_counts(input, sparsity, options); }, true};
}

Allocation per_layer(const std::string& name, std::function<int64_t(const LayerShape&)> count) {
  check(static_cast<bool>(count), "per_layer", "allocation '", name, "' has no function.");
  return {name, [count = std::move(count)](const AllocationInput& input) {
            std::vector<int64_t> counts;
            for (const auto& layer : input.layers) counts.push_back(count(layer));
            return counts;
          }};
}

std::vector<int64_t> allocate(const Allocation& allocation, const AllocationInput& input) {
  const char* here = "allocation";
  check(static_cast<bool>(allocation.counts), here, "'", allocation.name, "' has no function.");
  auto counts = allocation.counts(input);
  check(counts.size() == input.layers.size(), here, "'", allocation.name,
        "' must give one count a layer. Got ", counts.size(), " for ", input.layers.size(),
        " layers.");
  for (std::size_t i = 0; i < counts.size(); ++i) {
    check(counts[i] >= 0 && counts[i] <= input.layers[i].weights(), here, "'", allocation.name,
          "' must give a count from 0 to the layer's ", input.layers[i].weights(), " weights. Got ",
          counts[i], " for ", input.layers[i].name, ".");
  }
  return counts;
}

}  // namespace cupel
