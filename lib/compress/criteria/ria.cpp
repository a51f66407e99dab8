// RIA, relative importance and activations: a weight by its share of its column and of its row, times
// the root of its input's norm,
//   (|W_ij| / sum_i |W_ij| + |W_ij| / sum_j |W_ij|) * ||X_j||_2^0.5,
// compared within each output row. (Zhang et al., Plug-and-Play: An Efficient Post-training Pruning
// Method for Large Language Models, ICLR 2024, with its exponent a = 0.5.)
#include <ATen/Functions.h>
#include <torch/types.h>

#include <limits>

#include "cupel/compress/criterion.h"

namespace cupel {

Criterion ria() {
  return {"ria", Needs::sq_norm,
          [](const torch::Tensor& weight, const InputStats& stats) {
            // What is below the smallest normal number counts as zero, as it does for a thread
            // that flushes such numbers; a row or a column of zeros has no shares to give.
            const double tiny = std::numeric_limits<float>::min();
            auto a = weight.abs();
            a = at::where(a < tiny, at::zeros_like(a), a);
            const auto share =
                a / a.sum(0, true).clamp_min(tiny) + a / a.sum(1, true).clamp_min(tiny);
            return share * stats.sq_norm().to(weight.device()).pow(0.25);
          },
          Scope::row};
}

}  // namespace cupel
