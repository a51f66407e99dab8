#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <map>

#include "cupel/compress/compress_model.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::tiny_calibration;
using cupel::test::tiny_model;
using cupel::testing::require_close;

namespace {

// Halves every weight and remembers the statistics that it was given.
class Recorder : public Compressor {
 public:
  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override {
    seen.emplace(task.name, task.stats);
    LayerResult result;
    result.weight = task.weight * 0.5;
    finish_result(task, result);
    return result;
  }
  std::string name() const override { return "recorder"; }
  mutable std::map<std::string, InputStats> seen;
};

using Inputs = std::map<std::string, InputStats>;

// Statistics by layer name when block `layer` of `seen_by` reads what `before` made of the layers
// below; each sample runs alone.
Inputs recompute(const Model& before, const Model& seen_by, const Calibration& calibration) {
  Inputs inputs;
  for (const auto& sample : calibration.samples) {
    BlockState below = before.begin(sample.unsqueeze(0));
    for (int64_t layer = 0; layer < before.layers(); ++layer) {
      BlockState state = below;
      const auto block = seen_by.block(layer);
      for (int64_t stage = 0; stage < block->stages(); ++stage) {
        const auto x = block->input(stage, state);
        for (const auto& linear : block->linears(stage)) {
          inputs.try_emplace(linear.name, x.size(-1)).first->second.add(x);
        }
        block->apply(stage, x, state);
      }
      before.block(layer)->forward(below);
    }
  }
  return inputs;
}

void require_same(const Inputs& got, const Inputs& want) {
  REQUIRE(got.size() == 14);
  for (const auto& [name, stats] : got) {
    INFO(name);
    CHECK(stats.tokens() == want.at(name).tokens());
    CHECK(stats.sequences() == want.at(name).sequences());
    const auto gram = want.at(name).gram();
    // Other batch sizes choose other kernels in the forward pass: float32 rounding.
    require_close(stats.gram(), gram, 1e-5 * gram.diagonal().max().item<double>());
  }
}

struct Outcome {
  std::unique_ptr<Model> dense = tiny_model(), compressed = tiny_model();
  Calibration calibration = tiny_calibration({9, 9, 4, 16});
  Recorder recorder;
};

Outcome run(const char* propagation, CompressOptions options = {}) {
  Outcome out;
  options.propagation = propagation;
  const auto result = compress(*out.compressed, out.calibration, out.recorder, options);
  CHECK(result.propagation == propagation);
  return out;
}

}  // namespace

TEST_CASE("propagation staged: a layer sees what the compressed layers before it make") {
  const Outcome out = run("staged");
  require_same(out.recorder.seen, recompute(*out.compressed, *out.compressed, out.calibration));
}

TEST_CASE("propagation block: a layer sees its own block dense and the blocks below compressed") {
  const Outcome out = run("block");
  require_same(out.recorder.seen, recompute(*out.compressed, *out.dense, out.calibration));
}

TEST_CASE("propagation dense: a layer sees the dense model") {
  const Outcome out = run("dense");
  require_same(out.recorder.seen, recompute(*out.dense, *out.dense, out.calibration));
}

TEST_CASE("propagation: the three modes differ where they should, and only there") {
  const Outcome staged = run("staged"), block = run("block"), dense = run("dense");
  const auto gram = [](const Outcome& out, const std::string& name) {
    return out.recorder.seen.at(name).gram();
  };
  const std::string first = "model.layers.0.self_attn.q_proj";
  CHECK(at::equal(gram(staged, first), gram(block, first)));
  CHECK(at::equal(gram(staged, first), gram(dense, first)));
  const std::string down = "model.layers.0.mlp.down_proj";
  CHECK_FALSE(at::allclose(gram(staged, down), gram(block, down)));
  CHECK(at::equal(gram(block, down), gram(dense, down)));
  const std::string next = "model.layers.1.self_attn.q_proj";
  CHECK(at::equal(gram(staged, next), gram(block, next)));
  CHECK_FALSE(at::allclose(gram(block, next), gram(dense, next)));
}

TEST_CASE("propagation: layers of one stage share one input") {
  for (const char* mode : {"staged", "block", "dense"}) {
    const Outcome out = run(mode);
    const auto& seen = out.recorder.seen;
    for (const char* prefix : {"model.layers.0.", "model.layers.1."}) {
      const std::string p = prefix;
      const auto q = seen.at(p + "self_attn.q_proj").gram();
      CHECK(at::equal(q, seen.at(p + "self_attn.k_proj").gram()));
      CHECK(at::equal(q, seen.at(p + "self_attn.v_proj").gram()));
      CHECK(at::equal(seen.at(p + "mlp.gate_proj").gram(), seen.at(p + "mlp.up_proj").gram()));
    }
  }
}

TEST_CASE("propagation: a skipped layer passes on what it makes") {
  for (const char* mode : {"staged", "block"}) {
    const Outcome out = run(mode, {.skip = {"*.0.*", "*.1.self_attn.*"}});
    const auto& model = mode == std::string("staged") ? *out.compressed : *out.dense;
    const Inputs want = recompute(*out.compressed, model, out.calibration);
    CHECK(out.recorder.seen.size() == 3);
    for (const auto& [name, stats] : out.recorder.seen) {
      const auto gram = want.at(name).gram();
      require_close(stats.gram(), gram, 1e-5 * gram.diagonal().max().item<double>());
    }
  }
}

TEST_CASE("propagation: names and words") {
  CHECK(parse_propagation("staged") == Propagation::staged);
  CHECK(parse_propagation("block") == Propagation::block);
  CHECK(parse_propagation("dense") == Propagation::dense);
  CHECK(to_string(Propagation::block) == "block");
  CHECK_THROWS_WITH(parse_propagation("Staged"),
                    Catch::Contains("staged, block or dense. Got 'Staged'"));
}
