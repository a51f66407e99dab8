#include "cupel/calibration/collect.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <limits>

#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::tiny_calibration;
using cupel::test::tiny_model;
using cupel::testing::require_close;

namespace {

// Statistics of each stage of each block, every sample run alone through the dense model.
std::vector<InputStats> one_by_one(const Model& model, const Calibration& calibration) {
  std::vector<InputStats> all;
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    for (const int64_t columns : {16, 16, 16, 24}) all.emplace_back(columns);
  }
  for (const auto& sample : calibration.samples) {
    BlockState state = model.begin(sample.unsqueeze(0));
    for (int64_t layer = 0; layer < model.layers(); ++layer) {
      for (int64_t stage = 0; stage < 4; ++stage) {
        const auto x = model.block(layer)->input(stage, state);
        all[4 * layer + stage].add(x);
        model.block(layer)->apply(stage, x, state);
      }
    }
  }
  return all;
}

std::vector<InputStats> by_stream(const Model& model, const Calibration& calibration) {
  CalibrationStream stream(model, calibration);
  std::vector<InputStats> all;
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto block = model.block(layer);
    for (int64_t stage = 0; stage < 4; ++stage) {
      all.push_back(stream.collect(*block, stage, Needs::gram, "layer", stage < 3 ? 16 : 24));
      stream.apply(*block, stage);
    }
  }
  return all;
}

void require_same(const std::vector<InputStats>& got, const std::vector<InputStats>& want) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("stage " << i);
    CHECK(got[i].tokens() == want[i].tokens());
    CHECK(got[i].sequences() == want[i].sequences());
    const double top = want[i].gram().diagonal().max().item<double>();
    // Other batch sizes choose other kernels in the forward pass: float32 rounding.
    require_close(got[i].gram(), want[i].gram(), 1e-5 * top);
  }
}

}  // namespace

TEST_CASE("collect: ragged samples give the statistics of each run alone") {
  const auto model = tiny_model();
  const auto calibration = tiny_calibration({5, 5, 9, 3, 3, 3, 1, 64});
  const auto got = by_stream(*model, calibration);
  CHECK(got[0].tokens() == calibration.tokens());  // no padding is counted
  CHECK(got[0].sequences() == 8);
  require_same(got, one_by_one(*model, calibration));
}

TEST_CASE("collect: samples of more than one batch are all there") {
  const auto model = tiny_model();
  const auto calibration = tiny_calibration(std::vector<int64_t>(70, 60));  // 4200 tokens
  const auto got = by_stream(*model, calibration);
  CHECK(got[7].tokens() == 4200);
  require_same(got, one_by_one(*model, calibration));
}

TEST_CASE("collect: forward is the stages in order, and counts are known") {
  const auto model = tiny_model();
  const auto calibration = tiny_calibration({4, 4, 6});
  CalibrationStream stream(*model, calibration), twin = stream;
  CHECK(stream.samples() == 3);
  stream.forward(*model->block(0));
  for (int64_t stage = 0; stage < 4; ++stage) twin.apply(*model->block(0), stage);
  const auto a = stream.collect(*model->block(1), 0, Needs::gram, "q", 16);
  const auto b = twin.collect(*model->block(1), 0, Needs::gram, "q", 16);
  CHECK(at::equal(a.gram(), b.gram()));
  CHECK_FALSE(stream.empty());
  stream.clear();
  CHECK(stream.empty());
}

TEST_CASE("collect: inputs that are kept serve the stage that comes next and no other") {
  const auto model = tiny_model();
  CalibrationStream stream(*model, tiny_calibration({4, 4, 6})), plain = stream;
  const auto block = model->block(0);
  const auto gram_of = [&](CalibrationStream& of, int64_t stage, bool keep) {
    return of.collect(*block, stage, Needs::gram, "q", stage == 3 ? 24 : 16, keep).gram();
  };
  for (int64_t stage = 0; stage < block->stages(); ++stage) {
    CHECK(at::equal(gram_of(stream, stage, true), gram_of(plain, stage, false)));
    stream.apply(*block, stage);
    plain.apply(*block, stage);
  }
  gram_of(stream, 0, true);
  const auto other = model->block(1);  // not the block whose inputs are at hand
  for (auto* each : {&stream, &plain}) each->forward(*other);
  CHECK(at::equal(gram_of(stream, 0, false), gram_of(plain, 0, false)));
}

TEST_CASE("collect: a copy of a stream runs on its own") {
  const auto model = tiny_model();
  CalibrationStream stream(*model, tiny_calibration({8, 8}));
  const auto before = stream.collect(*model->block(0), 0, Needs::gram, "q", 16).gram();
  CalibrationStream copy = stream;
  copy.forward(*model->block(0));
  CHECK(at::equal(stream.collect(*model->block(0), 0, Needs::gram, "q", 16).gram(), before));
}

TEST_CASE("collect: non-finite activations are named by layer, sample and token") {
  const auto model = tiny_model();
  auto calibration = tiny_calibration({4, 4, 4, 7});
  auto embedding = model->state_dict().at("model.embed_tokens.weight");
  calibration.samples[2][3] = 49;
  for (const auto& sample : calibration.samples) sample.masked_fill_(sample == 49, 48);
  calibration.samples[2][3] = 49;  // now the only one
  embedding[49][5] = std::numeric_limits<float>::infinity();
  CalibrationStream stream(*model, calibration);
  const auto collect = [&] {
    stream.collect(*model->block(0), 0, Needs::gram, "model.layers.0.self_attn.q_proj", 16);
  };
  CHECK_THROWS_AS(collect(), NumericalError);
  CHECK_THROWS_WITH(collect(),
                    Catch::Contains("model.layers.0.self_attn.q_proj, sample 2, token 3"));
}

TEST_CASE("collect: samples that the model cannot run are refused by number") {
  const auto model = tiny_model();
  CHECK_THROWS_WITH(CalibrationStream(*model, tiny_calibration({5, 65})),
                    Catch::Contains("64 positions. Got calibration sample 1 of 65 tokens"));
  auto calibration = tiny_calibration({5, 5});
  calibration.samples[1][0] = 50;
  CHECK_THROWS_AS(CalibrationStream(*model, calibration), std::invalid_argument);
  CHECK(CalibrationStream(*model, Calibration()).empty());
}
