// Wanda: score = |W_ij| * ||X_j||_2, compared within each output row. (Sun et al., arXiv
// 2306.11695, section 3.) The published code takes the mean over sequences inside the root, which
// is one factor for the whole layer and changes no comparison.
#include "cupel/compress/criterion.h"

namespace cupel {

Criterion wanda() {
  const auto norms = [](const InputStats& stats) { return stats.sq_norm().sqrt(); };
  return {"wanda", Needs::sq_norm,
          [norms](const torch::Tensor& weight, const InputStats& stats) {
            return weight.abs().mul_(norms(stats).to(weight.device()));
          },
          Scope::row, norms};
}

}  // namespace cupel
