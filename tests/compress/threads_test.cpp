// The number of threads changes no byte, at widths that a matrix product can deal out evenly (MKL
// itself rounds otherwise with 3 threads than with 1 when a result is 24 columns wide).
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include "support/catch.h"

#include "cupel/compress/compress_model.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;

namespace {

struct ThreadCount {
  explicit ThreadCount(int threads) { at::set_num_threads(threads); }
  ~ThreadCount() { at::set_num_threads(before); }
  int before = at::get_num_threads();
};

std::vector<std::shared_ptr<Compressor>> methods() {
  return {std::make_shared<Prune>("wanda", unstructured(0.5)),
          std::make_shared<Prune>("wanda", n_of_m(2, 4)),
          std::make_shared<Prune>("magnitude", unstructured(0.5)),
          std::make_shared<Rtn>(Grid{.bits = 4, .group = 8})};
}

}  // namespace

TEST_CASE("threads: a wide layer's statistics and results are the same bytes") {
  const auto x = seeded_normal({5000, 320}, 1), weight = seeded_normal({700, 320}, 2);
  for (const auto& method : methods()) {
    INFO(method->name());
    LayerResult first;
    torch::Tensor gram, sq_norm, sum;
    for (const int threads : {1, 2, 3}) {
      const ThreadCount guard(threads);
      InputStats stats(320);
      stats.add(x);
      const auto result = method->compress(weight, stats);
      if (threads == 1) {
        first = result;
        gram = stats.gram();
        sq_norm = stats.sq_norm();
        sum = stats.sum();
        continue;
      }
      INFO(threads << " threads");
      CHECK(at::equal(stats.gram(), gram));
      CHECK(at::equal(stats.sq_norm(), sq_norm));
      CHECK(at::equal(stats.sum(), sum));
      CHECK(at::equal(result.weight, first.weight));
      CHECK(result.loss.value() == first.loss.value());
      CHECK(result.relative_error.value() == first.relative_error.value());
    }
  }
}

TEST_CASE("threads: a compressed model is the same bytes") {
  for (const auto& method : methods()) {
    INFO(method->name());
    std::string fingerprint, record;
    for (const int threads : {1, 2, 3}) {
      const ThreadCount guard(threads);
      const auto model = test::tiny_model({.head_dim = 32, .width = 8});
      compress(*model, test::tiny_calibration({40, 40, 13}), *method);
      if (threads == 1) {
        fingerprint = model->fingerprint();
        record = model->record();
      }
      CHECK(model->fingerprint() == fingerprint);
      CHECK(model->record() == record);
    }
  }
}
