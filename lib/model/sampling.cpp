#include "model/sampling.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "cupel/core/check.h"

namespace cupel {

int64_t sample_token(const torch::Tensor& logits, double temperature, int64_t top_k, double top_p,
                     PythonRandom& random) {
  const auto probabilities =
      at::softmax(logits.to(at::kDouble) / temperature, -1).cpu().contiguous();
  const double* p = probabilities.const_data_ptr<double>();
  std::vector<int64_t> ids(probabilities.numel());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return p[a] > p[b]; });
  if (top_k > 0 && top_k < static_cast<int64_t>(ids.size())) {
    ids.resize(top_k);
  }
  double mass = 0, kept = 0;
  std::size_t count = 0;
  for (const int64_t id : ids) mass += p[id];
  while (count < ids.size() && (count == 0 || kept < top_p * mass)) kept += p[ids[count++]];
  double target = random.uniform() * kept;
  for (std::size_t i = 0; i < count; ++i) {
    target -= p[ids[i]];
    if (target < 0) return ids[i];
  }
  return ids[count - 1];
}

void check_sampling(const char* function, double temperature, int64_t top_k, double top_p) {
  check(temperature >= 0 && top_k >= 0 && top_p > 0 && top_p <= 1, function,
        "temperature and top_k are at least 0 and top_p lies in (0, 1]. Got ", temperature, ", ",
        top_k, ", ", top_p, ".");
}

}  // namespace cupel
