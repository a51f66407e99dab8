// Magnitude: score = |W_ij|, compared over the whole matrix. (Han et al., arXiv 1506.02626, as the
// LLM pruning papers use it: one threshold a layer.)
#include "cupel/compress/criterion.h"

namespace cupel {

Criterion magnitude() {
  return {"magnitude", Needs::none,
          [](const torch::Tensor& weight, const InputStats&) { return weight.abs(); },
          Scope::matrix};
}

}  // namespace cupel
