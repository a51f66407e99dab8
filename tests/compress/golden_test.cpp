// Values that the published code of GPTQ, SparseGPT and Wanda gave for seeded layers. The files are
// not part of the project; without them these tests say that they skip.
#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"

#include "cupel/checkpoint/safetensors.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "support/require_close.h"
#include "support/shared_data.h"

using namespace cupel;
using cupel::testing::require_close;

namespace {

struct Golden {
  std::string name;
  TensorMap tensors;
  std::map<std::string, std::string> metadata;
  const torch::Tensor& at(const std::string& key) const { return tensors.at(key); }
  int64_t number(const std::string& key) const { return std::stoll(metadata.at(key)); }

  // Fed sequence by sequence, as the published code was.
  InputStats stats() const {
    const auto& x = at("X");
    InputStats stats(x.size(1));
    for (const auto& sequence : x.split(number("seqlen"))) stats.add(sequence);
    return stats;
  }
};

std::vector<Golden> goldens() {
  std::vector<Golden> all;
  for (const char* name : {"layer_corr_48x192_s5_dead0_g64", "layer_corr_96x256_s0_dead0_g128",
                           "layer_iid_64x256_s3_dead4_g128"}) {
    const std::string path = test::shared_path("golden/" + std::string(name) + ".safetensors");
    if (path.empty()) {
      WARN("skipped: no golden file " << name);
      continue;
    }
    all.push_back({name, read_safetensors(path), SafetensorsFile(path).metadata()});
  }
  return all;
}

void check_mask(const Golden& golden, const std::string& key, const Prune& prune) {
  INFO(golden.name << " " << key << " by " << prune.options_json());
  const auto result = prune.compress(golden.at("W"), golden.stats());
  CHECK(at::equal(result.mask, golden.at(key + ".mask")));
  CHECK(at::equal(result.weight, golden.at(key + ".Wq")));
}

}  // namespace

TEST_CASE("golden: statistics are those of the published code") {
  for (const auto& golden : goldens()) {
    INFO(golden.name);
    const auto stats = golden.stats();
    const auto sequences = static_cast<double>(stats.sequences());
    CHECK(stats.tokens() == golden.number("tokens"));
    CHECK(stats.dead_columns() == golden.number("dead"));
    // The published sums run in float32 throughout.
    require_close(stats.sq_norm() / sequences, golden.at("wanda.scaler_row"), 0, 1e-5);
    const auto& hessian = golden.at("H");
    const double top = hessian.diagonal().max().item<double>();
    require_close(stats.gram() * (2.0 / sequences), hessian, 1e-6 * top);
  }
}

TEST_CASE("golden: magnitude by the published rules is bit-exact") {
  for (const auto& golden : goldens()) {
    check_mask(golden, "magnitude",
               Prune("magnitude", unstructured(0.5), {.rules = Rules::published}));
    check_mask(golden, "magnitude24", Prune("magnitude", n_of_m(2, 4)));
    check_mask(golden, "magnitude24",
               Prune("magnitude", n_of_m(2, 4), {.rules = Rules::published}));
  }
}

TEST_CASE("golden: magnitude by the exact rules keeps one weight more") {
  for (const auto& golden : goldens()) {
    const auto exact = Prune("magnitude", unstructured(0.5)).compress(golden.at("W"));
    const auto& mask = golden.at("magnitude.mask");
    CHECK(exact.mask.ne(mask).sum().item<int64_t>() == 1);
    CHECK(exact.mask.sum().item<int64_t>() == mask.numel() / 2);
  }
}

TEST_CASE("golden: wanda is bit-exact under both rules") {
  for (const auto& golden : goldens()) {
    for (const Rules rules : {Rules::exact, Rules::published}) {
      check_mask(golden, "wanda", Prune("wanda", unstructured(0.5), {.rules = rules}));
      check_mask(golden, "wanda24", Prune("wanda", n_of_m(2, 4), {.rules = rules}));
      check_mask(golden, "wanda48", Prune("wanda", n_of_m(4, 8), {.rules = rules}));
    }
  }
}

TEST_CASE("golden: round-to-nearest has the published scales, zeros and weights") {
  for (const auto& golden : goldens()) {
    INFO(golden.name);
    const Grid grid{.bits = golden.number("bits"), .group = golden.number("groupsize")};
    const auto result = Rtn(grid).compress(golden.at("W"), golden.stats());
    require_close(result.scales, golden.at("rtn.scales"), 0, 1e-6);
    require_close(result.zeros, golden.at("rtn.zeros"), 0);
    require_close(result.weight, golden.at("rtn.Wq"), 1e-6);
    CHECK(at::equal(Rtn(grid, {.rules = Rules::published}).compress(golden.at("W")).codes,
                    result.codes));
  }
}
