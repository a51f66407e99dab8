#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cupel/calibration/input_stats.h"

namespace cupel {

/// A linear layer that is going to be compressed.
struct LayerShape {
  std::string name;
  int64_t block = 0;  ///< index of the block that holds it
  int64_t rows = 0, columns = 0;
  int64_t weights() const { return rows * columns; }
};

/// What an allocation may look at: the layers in model order, and their dense weights and inputs.
struct AllocationInput {
  using Visit = std::function<void(const LayerShape& layer, const torch::Tensor& weight,
                                   const InputStats& stats)>;
  std::vector<LayerShape> layers;
  /// Calls back for each layer in order with its weight [out, in] and statistics of its inputs in
  /// the dense model. Needs::none runs no text through the model; else each call is one pass.
  std::function<void(Needs needs, const Visit& visit)> for_each;
};

/// How many weights each layer is to lose: a value that holds a function, so a lambda is enough.
struct Allocation {
  std::string name;
  /// One count for each of the input's layers, in order.
  std::function<std::vector<int64_t>(const AllocationInput&)> counts;
  bool needs_text = false;  ///< whether it asks for statistics
};

/// floor(sparsity * weights) of every layer.
Allocation uniform(double sparsity);

/// One threshold on |w| over all layers: exactly floor(sparsity * all weights) go. Ties keep the
/// earlier layer. With Prune("magnitude", ...) this is global magnitude pruning.
Allocation global_magnitude(double sparsity);

struct OwlOptions {
  double multiple = 3.0;  ///< M: an outlier is worth more than M times the block's mean
  double range = 0.08;    ///< lambda: ratios lie within +-lambda of the target, before centring
};

/// OWL, outlier-weighed layer-wise sparsity: the larger a block's share of outliers among its
/// |w_ij| ||x_j||, the fewer weights it loses. (Yin et al., arXiv 2310.05175, section 3.) Blocks'
/// ratios are centred so that all weights together lose `sparsity` of them, up to rounding.
Allocation owl(double sparsity, OwlOptions options = {});

/// Any rule of your own, layer by layer.
Allocation per_layer(const std::string& name, std::function<int64_t(const LayerShape&)> count);

/// allocation.counts(input), checked: one count a layer, each from 0 to its weights.
/// std::invalid_argument names allocation and layer.
std::vector<int64_t> allocate(const Allocation& allocation, const AllocationInput& input);

}  // namespace cupel
