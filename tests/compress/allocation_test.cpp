#include "cupel/compress/allocation.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include "support/catch.h"
#include <nlohmann/json.hpp>
#include <numeric>

#include "cupel/compress/chain.h"
#include "cupel/compress/compress_model.h"
#include "cupel/compress/gptq.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/compress/sparsegpt.h"
#include "cupel/core/error.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::seeded_normal;
using cupel::test::tiny_calibration;
using cupel::test::tiny_model;

namespace {

// Layers whose weights and inputs are at hand.
struct Layers {
  std::vector<LayerShape> shapes;
  std::vector<torch::Tensor> weights, inputs;

  void add(int64_t block, torch::Tensor weight, torch::Tensor x) {
    shapes.push_back({c10::str("layer", shapes.size()), block, weight.size(0), weight.size(1)});
    weights.push_back(std::move(weight));
    inputs.push_back(std::move(x));
  }
  AllocationInput input() const {
    return {shapes, [this](Needs needs, const AllocationInput::Visit& visit) {
              for (std::size_t i = 0; i < shapes.size(); ++i) {
                InputStats stats(shapes[i].columns, needs);
                if (needs != Needs::none) stats.add(inputs[i]);
                visit(shapes[i], weights[i], stats);
              }
            }};
  }
};

int64_t total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

int64_t pruned(const LayerResult& layer) { return layer.mask.logical_not().sum().item<int64_t>(); }

}  // namespace

TEST_CASE("allocation: global magnitude is one threshold over all layers") {
  Layers layers;
  layers.add(0, seeded_normal({5, 8}, 1), {});
  layers.add(0, seeded_normal({7, 6}, 2) * 3, {});
  layers.add(1, seeded_normal({4, 9}, 3) * 0.1, {});
  for (const double sparsity : {0.0, 0.01, 0.5, 0.73, 1.0}) {
    const auto counts = allocate(global_magnitude(sparsity), layers.input());
    const auto all = at::cat({layers.weights[0].abs().flatten(), layers.weights[1].abs().flatten(),
                              layers.weights[2].abs().flatten()});
    const auto wanted = static_cast<int64_t>(sparsity * all.numel());
    INFO(sparsity);
    CHECK(total(counts) == wanted);
    if (wanted == 0) continue;
    const double threshold = std::get<0>(all.sort())[wanted - 1].item<double>();
    for (std::size_t i = 0; i < counts.size(); ++i) {
      CHECK(counts[i] == (layers.weights[i].abs() <= threshold).sum().item<int64_t>());
    }
  }
}

TEST_CASE("allocation: of equal magnitudes the later layer's go first") {
  Layers layers;
  for (int i = 0; i < 3; ++i) layers.add(i, at::ones({2, 4}), {});
  CHECK(allocate(global_magnitude(0.5), layers.input()) == std::vector<int64_t>{0, 4, 8});
}

TEST_CASE("allocation: owl spares the block with more outliers") {
  Layers layers;
  for (int block = 0; block < 3; ++block) {
    auto x = at::ones({10, 20});
    x.slice(1, 0, block).mul_(50);  // as many outlying inputs as the block's number
    layers.add(block, at::ones({8, 20}), x);
    layers.add(block, at::ones({4, 20}), x);
  }
  const auto counts = allocate(owl(0.5), layers.input());
  // Shares 0, 1/20, 2/20 are spread over [0, 0.16] and centred: 0.58, 0.5, 0.42.
  CHECK(counts == std::vector<int64_t>{92, 46, 80, 40, 67, 33});
  const auto flat = allocate(owl(0.5, {.range = 0}), layers.input());
  CHECK(flat == std::vector<int64_t>{80, 40, 80, 40, 80, 40});
}

TEST_CASE("allocation: a function's counts are checked") {
  Layers layers;
  layers.add(0, at::ones({2, 4}), {});
  const auto run = [&](int64_t count) {
    return allocate(per_layer("mine", [=](const LayerShape&) { return count; }), layers.input());
  };
  CHECK(run(3) == std::vector<int64_t>{3});
  CHECK_THROWS_WITH(run(9), Catch::Contains("'mine'") && Catch::Contains("layer0"));
  CHECK_THROWS_AS(run(-1), std::invalid_argument);
  const Allocation short_one{"short",
                             [](const AllocationInput&) { return std::vector<int64_t>(); }};
  CHECK_THROWS_WITH(allocate(short_one, layers.input()), Catch::Contains("one count a layer"));
  CHECK_THROWS_AS(owl(1.5), std::invalid_argument);
}

TEST_CASE("compress: every layer follows its allocation, and the result tells it") {
  const auto model = tiny_model();
  const auto result = compress(*model, tiny_calibration({40, 40}), SparseGpt(unstructured(0.5)),
                               {.allocation = owl(0.5)});
  REQUIRE(result.plan.size() == result.layers.size());
  for (std::size_t i = 0; i < result.plan.size(); ++i) {
    CHECK(pruned(result.layers[i]) == result.plan[i].prune_count);
  }
  const auto json = nlohmann::json::parse(result.to_json());
  CHECK_THAT(json["allocation"].get<std::string>(), Catch::Contains("owl 50%"));
  CHECK(json["plan"][0]["prune_count"] == result.plan[0].prune_count);
}

TEST_CASE("compress: global magnitude prunes the smallest weights of the model") {
  const auto model = tiny_model(), dense = tiny_model();
  const auto result = compress(*model, {}, Prune("magnitude", unstructured(0.5)),
                               {.allocation = global_magnitude(0.5)});
  CHECK(result.sparsity() == 0.5);
  double largest_gone = 0, smallest_left = 1e9;
  const auto before = dense->state_dict();
  for (const auto& [name, mask] : result.masks()) {
    const auto w = before.at(name + ".weight").abs();
    largest_gone = std::max(largest_gone, w.masked_select(mask.logical_not()).max().item<double>());
    smallest_left = std::min(smallest_left, w.masked_select(mask).min().item<double>());
  }
  CHECK(largest_gone <= smallest_left);
}

TEST_CASE("compress: an allocation needs a method that prunes, and text where it asks for it") {
  const auto model = tiny_model();
  CHECK_THROWS_WITH(compress(*model, {}, Rtn(Grid{}), {.allocation = uniform(0.5)}),
                    Catch::Contains("prunes what it is told to"));
  CHECK_THROWS_AS(
      compress(*model, {}, Prune("magnitude", unstructured(0.5)), {.allocation = owl(0.5)}),
      NumericalError);
  CHECK(model->fingerprint() == tiny_model()->fingerprint());
}

TEST_CASE("compress: overrides give some layers another method, or none; the first match decides") {
  const auto model = tiny_model();
  CompressOptions options;
  options.overrides = {{"*.v_proj", nullptr},
                       {"re:.*layers.1.*_proj", std::make_shared<Gptq>(Grid{.bits = 8})},
                       {"*.down_proj", std::make_shared<Rtn>(Grid{.bits = 2})}};
  const auto result =
      compress(*model, tiny_calibration({30, 30}), Prune("wanda", unstructured(0.5)), options);
  CHECK(result.skipped == std::vector<std::string>{"model.layers.0.self_attn.v_proj",
                                                   "model.layers.1.self_attn.v_proj"});
  for (const auto& layer : result.layers) {
    INFO(layer.name);
    const bool second = layer.name.find("layers.1") != std::string::npos;
    const bool down = layer.name.find("down_proj") != std::string::npos;
    CHECK(layer.bits == (second ? 8 : down ? 2 : 0));
  }
  options.overrides = {{"*.no_such_proj", nullptr}};
  CHECK_THROWS_WITH(compress(*model, {}, Prune("magnitude", unstructured(0.5)), options),
                    Catch::Contains("no_such_proj"));
}

TEST_CASE("Chain: prune then quantize keeps zeros, mask and losses against the dense weight") {
  const auto model = tiny_model();
  const Chain chain({std::make_shared<SparseGpt>(n_of_m(2, 4)),
                     std::make_shared<Gptq>(Grid{.bits = 4, .group = 8})});
  CHECK(chain.name() == "sparsegpt 2:4, gptq 4 bit group 8");
  const auto result = compress(*model, tiny_calibration({40, 40}), chain, {.keep_tensors = true});
  const auto dense = tiny_model()->state_dict();
  for (const auto& layer : result.layers) {
    CHECK(layer.bits == 4);
    const auto kept = layer.mask.view({layer.rows, layer.columns / 4, 4}).sum(2);
    CHECK((kept == 2).all().item<bool>());
    CHECK((layer.weight.masked_select(layer.mask.logical_not()) == 0).all().item<bool>());
    CHECK(at::equal(layer.weight, dequantize(layer.quantized())));
    CHECK(layer.relative_error.value() > 0);
    CHECK_FALSE(layer.sweep_loss.has_value());
    CHECK_THAT(layer.notes.front(), Catch::Contains("sparsegpt 2:4"));
  }
}

TEST_CASE("Chain: a step that brings pruned weights back is refused") {
  class Ones : public Compressor {
   public:
    LayerResult compress(const LayerTask& task) const override {
      LayerResult result;
      result.weight = at::ones_like(task.weight);
      return result;
    }
    Needs needs() const override { return Needs::none; }
    std::string name() const override { return "ones"; }
  };
  const Chain chain(
      {std::make_shared<Prune>("magnitude", unstructured(0.5)), std::make_shared<Ones>()});
  CHECK_THROWS_WITH(static_cast<const Compressor&>(chain).compress(seeded_normal({2, 4}, 1), {"q"}),
                    Catch::Contains("ones") && Catch::Contains("q"));
  CHECK_THROWS_AS(Chain({}), std::invalid_argument);
}

TEST_CASE("compress: keep_zeros leaves zeros of the weights alone") {
  const auto model = make_model(test::tiny_config(), [] {
    auto weights = test::tiny_weights();
    for (auto& [name, tensor] : weights) {
      if (name.find("_proj") != std::string::npos) tensor.masked_fill_(tensor.abs() < 0.1, 0.0);
    }
    return weights;
  }());
  const auto before = model->state_dict();
  std::map<std::string, torch::Tensor> zeros;
  for (const auto& [name, tensor] : before) zeros[name] = (tensor == 0).clone();
  const auto result =
      compress(*model, tiny_calibration({40, 40}), Gptq({.bits = 4}), {.keep_zeros = true});
  for (const auto& [name, mask] : result.masks()) {
    CHECK(at::equal(mask.logical_not(), zeros.at(name + ".weight")));
  }
  for (const auto& [name, tensor] : model->state_dict()) {
    CHECK((tensor.masked_select(zeros.at(name)) == 0).all().item<bool>());
  }
}
