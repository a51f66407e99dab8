#include "cupel/compress/compress_model.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <nlohmann/json.hpp>
#include <set>

#include "cupel/calibration/collect.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/error.h"
#include "support/require_close.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::tiny_calibration;
using cupel::test::tiny_model;

namespace {

Prune half_wanda() { return Prune("wanda", unstructured(0.5)); }

// Throws at the layer of a given number.
class Throwing : public Compressor {
 public:
  explicit Throwing(int layer) : left_(layer) {}
  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override {
    if (left_-- == 0) throw std::runtime_error("mine");
    return Prune("magnitude", unstructured(0.5)).compress(task);
  }
  Needs needs() const override { return Needs::none; }
  std::string name() const override { return "throwing"; }

 private:
  mutable int left_;
};

// Hands back whatever it was given to hand back.
class Fixed : public Compressor {
 public:
  explicit Fixed(torch::Tensor weight) : weight_(std::move(weight)) {}
  using Compressor::compress;
  LayerResult compress(const LayerTask&) const override {
    LayerResult result;
    result.weight = weight_;
    return result;
  }
  Needs needs() const override { return Needs::none; }
  std::string name() const override { return "fixed"; }

 private:
  torch::Tensor weight_;
};

}  // namespace

TEST_CASE("compress: every linear layer loses exactly what was asked, nothing else changes") {
  const auto model = tiny_model();
  const auto before = tiny_model()->state_dict();
  const auto result = compress(*model, tiny_calibration({12, 12, 5}), half_wanda());
  REQUIRE(result.layers.size() == 14);
  const auto names = model->linear_names();
  const std::set<std::string> linears(names.begin(), names.end());
  for (const auto& [name, tensor] : model->state_dict()) {
    INFO(name);
    const auto& old = before.at(name);
    if (name.size() > 7 && linears.count(name.substr(0, name.size() - 7))) {
      CHECK((tensor == 0).sum(1).eq(tensor.size(1) / 2).all().item<bool>());
      CHECK(at::logical_or(tensor == 0, tensor == old).all().item<bool>());
    } else {
      CHECK(at::equal(tensor, old));
    }
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    CHECK(result.layers[i].name == names[i]);
    CHECK(result.layers[i].sparsity == 0.5);
    CHECK(result.layers[i].tokens == 29);
    CHECK(result.layers[i].relative_error.value() > 0);
    CHECK(result.layers[i].relative_error.value() < 1);
    CHECK(result.layers[i].packed_bytes > 0);
    CHECK_FALSE(result.layers[i].weight.defined());  // dropped unless asked for
  }
  CHECK(result.sparsity() == 0.5);
  CHECK(result.weights() == 2 * (16 * 16 * 2 + 8 * 16 * 2 + 24 * 16 * 3));
  CHECK(result.calibration_samples == 3);
  CHECK(result.calibration_tokens == 29);
  CHECK(result.calibration_hash == tiny_calibration({12, 12, 5}).hash());
}

TEST_CASE("compress: masks are the model's and can be applied again") {
  const auto model = tiny_model();
  const auto result = compress(*model, tiny_calibration({12}), half_wanda());
  const auto masks = result.masks();
  CHECK(masks.size() == 14);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto block = model->block(layer);
    for (int64_t stage = 0; stage < 4; ++stage) {
      for (const auto& [name, linear] : block->linears(stage)) {
        CHECK(at::equal(linear->mask(), masks.at(name)));
        CHECK(at::equal(linear->weight() != 0, masks.at(name)));
      }
    }
  }
}

TEST_CASE("compress: keep_tensors keeps weights, codes and scales; rtn has no masks") {
  const auto model = tiny_model();
  const auto result = compress(*model, Calibration(), Rtn({.bits = 4}), {.keep_tensors = true});
  for (const auto& layer : result.layers) {
    CHECK(at::equal(dequantize(layer.quantized()), layer.weight));
    CHECK(at::equal(model->state_dict().at(layer.name + ".weight"), layer.weight));
    CHECK_FALSE(layer.loss.has_value());
    CHECK(layer.tokens == 0);
  }
  CHECK_THROWS_WITH(result.masks(), Catch::Contains("there are no masks"));
  CHECK(result.calibration_hash.empty());
  CHECK(model->block(0)->linears(0)[0].linear->quantized().bits == 4);
}

TEST_CASE("compress: loss is ||X dW^T||^2 / tokens of the inputs the layer saw") {
  const auto model = tiny_model(), dense = tiny_model();
  const auto calibration = tiny_calibration({20});
  const auto result = compress(*model, calibration, half_wanda(), {.keep_tensors = true});
  BlockState state = dense->begin(calibration.samples[0].unsqueeze(0));
  const auto x = dense->block(0)->input(0, state)[0];  // the first stage sees dense inputs
  for (int i = 0; i < 3; ++i) {
    const auto& layer = result.layers[i];
    const auto weight = dense->state_dict().at(layer.name + ".weight");
    const auto error = x.matmul((layer.weight - weight).t()).to(at::kDouble);
    const auto whole = x.matmul(weight.t()).to(at::kDouble);
    const double squares = error.pow(2).sum().item<double>();
    // Float32 Gram matrices.
    CHECK(layer.loss.value() == Approx(squares / 20).epsilon(1e-5));
    CHECK(layer.relative_error.value() ==
          Approx(squares / whole.pow(2).sum().item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("compress: measure_loss off collects only what the method needs") {
  const auto model = tiny_model(), other = tiny_model();
  const auto calibration = tiny_calibration({12, 7});
  const auto result = compress(*model, calibration, half_wanda(), {.measure_loss = false});
  compress(*other, calibration, half_wanda());
  CHECK(model->fingerprint() == other->fingerprint());
  for (const auto& layer : result.layers) CHECK_FALSE(layer.loss.has_value());
  const auto measured = compress(*tiny_model(), calibration, Rtn({.bits = 4}));
  for (const auto& layer : measured.layers) CHECK(layer.loss.value() > 0);
}

TEST_CASE("compress: skip and only choose layers, and what matches nothing is an error") {
  const auto model = tiny_model();
  const Prune prune("magnitude", unstructured(0.5));
  const auto result = compress(*model, {}, prune, {.skip = {"re:.*layers.0.*", "*down_proj"}});
  CHECK(result.layers.size() == 6);
  CHECK(result.skipped.size() == 8);
  CHECK(result.skipped.front() == "model.layers.0.self_attn.q_proj");
  const auto dense = tiny_model()->state_dict();
  for (const auto& name : result.skipped) {
    CHECK(at::equal(model->state_dict().at(name + ".weight"), dense.at(name + ".weight")));
  }
  const auto only =
      compress(*tiny_model(), {}, prune, {.skip = {"*.1.*"}, .only = {"*q_proj", "*o_proj"}});
  CHECK(only.layers.size() == 2);
  const auto run = [&](CompressOptions options) { compress(*tiny_model(), {}, prune, options); };
  CHECK_THROWS_WITH(run({.skip = {"*lm_head*"}}), Catch::Contains("matches no linear layer"));
  CHECK_THROWS_WITH(run({.only = {"q_proj"}}), Catch::Contains("matches no linear layer"));
  CHECK_THROWS_WITH(run({.skip = {"*"}}), Catch::Contains("no linear layer is left"));
  CHECK_THROWS_WITH(run({.propagation = "layer"}), Catch::Contains("Got 'layer'"));
}

TEST_CASE("compress: a method that needs statistics refuses to run without text") {
  const auto model = tiny_model();
  const std::string before = model->fingerprint();
  CHECK_THROWS_AS(compress(*model, {}, half_wanda()), NumericalError);
  CHECK_THROWS_WITH(compress(*model, {}, half_wanda()), Catch::Contains("needs calibration text"));
  CHECK_THROWS_AS(compress(*model, tiny_calibration({65}), half_wanda()), std::invalid_argument);
  CHECK(model->fingerprint() == before);
}

TEST_CASE("compress: after an exception the model is as it was") {
  const auto model = tiny_model();
  const std::string before = model->fingerprint();
  for (const int layer : {0, 3, 7, 13}) {
    CHECK_THROWS_WITH(compress(*model, {}, Throwing(layer)), "mine");
    CHECK(model->fingerprint() == before);
    CHECK_FALSE(model->block(0)->linears(0)[0].linear->mask().defined());
    CHECK(model->record().empty());
  }
  compress(*model, {}, Prune("magnitude", unstructured(0.5)));
  const std::string pruned = model->fingerprint();
  CHECK_THROWS_WITH(compress(*model, {}, Throwing(9)), "mine");
  CHECK(model->fingerprint() == pruned);
  CHECK(model->block(1)->linears(0)[0].linear->mask().defined());  // of the run before
  auto weights = model->state_dict();
  weights.at("model.layers.1.mlp.up_proj.weight")[0][0] = NAN;
  CHECK_THROWS_WITH(compress(*model, {}, Rtn({.bits = 4})),
                    Catch::Contains("model.layers.1.mlp.up_proj"));
}

TEST_CASE("compress: a compressor must return a weight of the same shape") {
  const auto model = tiny_model();
  const std::string before = model->fingerprint();
  CHECK_THROWS_WITH(compress(*model, {}, Fixed(torch::Tensor())), Catch::Contains("same shape"));
  CHECK_THROWS_WITH(compress(*model, {}, Fixed(at::zeros({4, 4}))),
                    Catch::Contains("[4, 4] for [16, 16] in model.layers.0.self_attn.q_proj"));
  CHECK(model->fingerprint() == before);
}

TEST_CASE("compress: progress ends each layer once, and false cancels without a trace") {
  const auto model = tiny_model();
  const std::string before = model->fingerprint();
  std::vector<std::string> done;
  std::set<std::string> stages;
  CompressOptions options;
  options.progress = [&](const Progress& progress) {
    stages.insert(progress.stage);
    CHECK(progress.total == 14);
    if (progress.layer_done) {
      done.push_back(progress.name);
      CHECK(progress.done == static_cast<int64_t>(done.size()));
      CHECK(progress.loss > 0);
    }
    return done.size() < 5;
  };
  const auto calibration = tiny_calibration({12});
  CHECK_THROWS_AS(compress(*model, calibration, half_wanda(), options), Cancelled);
  CHECK(done.size() == 5);
  CHECK(model->fingerprint() == before);
  const auto take_all = options.progress;
  done.clear();
  options.progress = [&](const Progress& progress) {
    take_all(progress);
    return true;
  };
  compress(*model, calibration, half_wanda(), options);
  CHECK(done == model->linear_names());
  CHECK(stages == std::set<std::string>{"calibrate", "compress"});
}

TEST_CASE("compress: pruning, then rounding keeps the zeros and both are recorded") {
  const auto model = tiny_model();
  const auto calibration = tiny_calibration({12, 12});
  compress(*model, calibration, Prune("wanda", n_of_m(2, 4)));
  const auto result = compress(*model, calibration, Rtn({.bits = 4, .group = 8}));
  for (const auto& name : model->linear_names()) {
    const auto weight = model->state_dict().at(name + ".weight");
    CHECK(((weight == 0).reshape({-1, 4}).sum(1) >= 2).all().item<bool>());
    CHECK(result.masks().at(name).defined());
  }
  const auto record = nlohmann::json::parse(model->record());
  REQUIRE(record.size() == 2);
  CHECK(record[0]["options"]["criterion"] == "wanda");
  CHECK(record[1]["options"]["bits"] == 4);
  CHECK_FALSE(record[1].contains("seconds"));  // the same run writes the same record
}

TEST_CASE("compress: a bfloat16 model stays bfloat16") {
  TensorMap weights = test::tiny_weights();
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kBFloat16);
  const auto model = make_model(test::tiny_config(), weights);
  compress(*model, tiny_calibration({12}), half_wanda());
  for (const auto& [name, tensor] : model->state_dict())
    CHECK(tensor.scalar_type() == at::kBFloat16);
  CHECK(weights.at("model.layers.0.mlp.up_proj.weight").eq(0).sum().item<int64_t>() == 0);
}

TEST_CASE("CompressionResult: to_json says everything but tensors") {
  const auto model = tiny_model();
  const auto result = compress(*model, tiny_calibration({12}), half_wanda(), {.skip = {"*o_proj"}});
  const auto json = nlohmann::json::parse(result.to_json());
  CHECK(json["method"] == "wanda 50%");
  CHECK(json["propagation"] == "staged");
  CHECK(json["calibration"]["hash"] == result.calibration_hash);
  CHECK(json["calibration"]["tokens"] == 12);
  CHECK(json["skipped"].size() == 2);
  REQUIRE(json["layers"].size() == 12);
  CHECK(json["layers"][0]["name"] == "model.layers.0.self_attn.q_proj");
  CHECK(json["layers"][0]["shape"] == nlohmann::json::array({16, 16}));
  CHECK(json["layers"][0]["loss"].get<double>() == result.layers[0].loss.value());
  CHECK(json["layers"][0]["bits"].is_null());
  CHECK(json["layers"][0]["damping"].is_null());
}
