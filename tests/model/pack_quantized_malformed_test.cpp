#include "support/catch.h"

#include "support/format_error.h"
#include "support/quantized_model.h"

namespace cupel::test {

namespace {

const std::string kUp = "model.layers.1.mlp.up_proj";

template <typename Change>
void refuse(Change&& change, const std::string& rule) {
  PackedFolder packed;
  change(packed);
  INFO(rule);
  for (const bool lazy : {false, true})
    require_format_error([&] { packed.load({.lazy = lazy})->state_dict(); }, packed.path(), rule);
}

}  // namespace

TEST_CASE("load_model: a quantization_config is taken field by field", "[model]") {
  const auto top = [](const char* key, Json value, const std::string& rule) {
    refuse([&](PackedFolder& packed) { packed.quantization()[key] = value; }, rule);
  };
  top("quant_method", "gptq", "must be compressed-tensors. Got 'gptq'");
  top("quant_method", nullptr, "must be compressed-tensors. Got ''");
  top("format", "int-quantized", "must be pack-quantized. Got 'int-quantized'");
  top("format", "mixed-precision", "must be pack-quantized");
  top("quantization_status", "frozen", "must be compressed. Got 'frozen'");
  top("kv_cache_scheme", {{"num_bits", 8}}, "a quantized cache is not supported");
  top("sparsity_config", {{"format", "sparse-24-bitmask"}}, "sparse formats are not supported");
  top("transform_config", {{"config_groups", {}}}, "transforms are not supported");
  top("config_groups", Json::object(), "must hold a group");
  top("config_groups", Json::array(), "must be an object");
  top("config_groups", {{"W4A16", Json::array({"Linear"})}}, "must be an object");
  top("ignore", "lm_head", "must be a list of strings");
  top("ignore", Json::array({1}), "must be a list of strings");
  top("ignore", Json::array(), "must be in ignore");
  top("bits", 4, "is not known to cupel");
  refuse([](PackedFolder& packed) { packed.config["quantization_config"] = 4; },
         "must be an object");

  const auto scheme = [](const char* key, Json value, const std::string& rule) {
    refuse([&](PackedFolder& packed) { packed.group()[key] = value; }, rule);
  };
  scheme("input_activations", {{"num_bits", 8}}, "quantized activations are not supported");
  scheme("output_activations", {{"num_bits", 8}}, "quantized activations are not supported");
  scheme("format", "naive-quantized", "must be pack-quantized");
  scheme("targets", Json::array(), "must name the layers");
  scheme("weights", nullptr, "is required");
  scheme("observer", "minmax", "is not known to cupel");

  const auto weights = [](const char* key, Json value, const std::string& rule) {
    refuse([&](PackedFolder& packed) { packed.group()["weights"][key] = value; }, rule);
  };
  weights("num_bits", 3, "must be 4 or 8. Got 3");
  weights("num_bits", 4.0, "must be an integer");
  weights("num_bits", nullptr, "is required");
  weights("type", "float", "must be int. Got 'float'");
  weights("symmetric", "no", "must be true or false");
  weights("strategy", "tensor", "must be group or channel. Got 'tensor'");
  weights("strategy", "block", "must be group or channel");
  weights("strategy", "channel", "must be null for the strategy channel");
  weights("group_size", nullptr, "is required");
  weights("group_size", 0, "must lie in [1, ");
  weights("group_size", 5, "group_size must divide the columns. Got 5 for [16, 16]");
  weights("group_size", 1 << 20, "group_size must divide the columns");
  weights("block_structure", Json::array({8, 8}), "must be null");
  weights("dynamic", true, "must be false");
  weights("dynamic", "local", "must be true or false");
  weights("actorder", "group", "must be null, weight or static. Got");
  weights("actorder", true, "must be null, weight or static. Got true");
  weights("zero_point_bits", 4, "is not known to cupel");
}

TEST_CASE("load_model: what says the same in other words is read", "[model]") {
  const PackedFolder packed;
  const std::string fingerprint = packed.load()->fingerprint();
  const auto read = [&](auto change) {
    PackedFolder copy;
    change(copy);
    CHECK(copy.load()->fingerprint() == fingerprint);
  };
  const auto weights = [&](const char* key, Json value) {
    read([&](PackedFolder& copy) { copy.group()["weights"][key] = value; });
  };
  weights("actorder", "static");
  weights("actorder", "weight");
  weights("actorder", false);
  weights("strategy", nullptr);
  weights("scale_dtype", "torch.float32");
  weights("zp_dtype", "torch.int8");
  weights("observer", "memoryless_minmax");
  read([](PackedFolder& copy) { copy.group().erase("format"); });
  read([](PackedFolder& copy) {
    for (const char* key : {"sparsity_config", "transform_config", "version"})
      copy.quantization().erase(key);
  });
  read([](PackedFolder& copy) { copy.group()["targets"] = Json::array({"re:.*_proj$"}); });
  read([](PackedFolder& copy) {
    copy.group()["targets"] = Json::array({"re:.*self_attn.*", "re:.*mlp.*"});
    copy.quantization()["ignore"] = Json::array({"re:.*lm_head"});
  });
}

TEST_CASE("load_model: exact targets, then expressions by their text, then the class", "[model]") {
  PackedFolder packed({.bits = 4});
  const auto model = packed.load();
  Json wrong = packed.group();  // would ask for other shapes
  wrong["weights"]["num_bits"] = 8;
  const Json right = packed.group();
  packed.quantization()["config_groups"] = {{"a", wrong}, {"b", right}};
  const auto read = [&](const Json& wrong_targets, const Json& right_targets) {
    packed.group("a")["targets"] = wrong_targets;
    packed.group("b")["targets"] = right_targets;
    CHECK(packed.load()->fingerprint() == model->fingerprint());
  };
  read(Json::array({"Linear"}), Json::array({"re:.*_proj"}));
  read(Json::array({"re:m.*"}), Json::array({"re:.*_proj"}));
  read(Json::array({"re:.*_proj"}), Json(model->linear_names()));
}

TEST_CASE("load_model: targets that cannot be meant are refused", "[model]") {
  const auto targets = [](Json value, const std::string& rule) {
    refuse([&](PackedFolder& packed) { packed.group()["targets"] = value; }, rule);
  };
  targets({"Linear", "LlamaAttention"}, "Got 'LlamaAttention'");
  targets({"Linear", "model.layers.7.mlp.up_proj"}, "Got 'model.layers.7.mlp.up_proj'");
  targets({"Linear", "Linear"}, "a target must stand once");
  targets(Json::array({"re:("}), "is no regular expression");
  targets(Json::array({"re:(.+)+\\d{4}"}), "too many steps");
  targets(Json::array({"re:" + std::string(2000, 'a')}), "is too long");
  Json many = Json::array();
  for (int i = 0; i < 65; ++i) many.push_back(c10::str("re:", i));
  targets(many, "64 expressions at most");
  // Layers that the config leaves out would have to be dense.
  targets(Json::array({"re:.*self_attn.*"}), "lacks: model.layers.0.mlp.down_proj.weight");
  refuse([](PackedFolder& packed) { packed.quantization()["ignore"].push_back(kUp); },
         "lacks: " + kUp + ".weight");
}

TEST_CASE("load_model: packed tensors must be those that the config asks for", "[model]") {
  for (const char* part :
       {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape"}) {
    refuse([&](PackedFolder& packed) { packed.tensors.erase(kUp + part); }, "lacks: " + kUp + part);
    refuse(
        [&](PackedFolder& packed) {
          packed.tensors[kUp + part] = packed.tensors[kUp + part].unsqueeze(0);
        },
        "asks for shape");
    refuse(
        [&](PackedFolder& packed) {
          packed.tensors[kUp + part] = packed.tensors[kUp + part].to(at::kShort);
        },
        "Got Short");
  }
  const auto change = [](const char* part, auto make, const std::string& rule) {
    refuse(
        [&](PackedFolder& packed) {
          torch::Tensor& tensor = packed.tensors.at(kUp + part);
          tensor = make(tensor);
        },
        rule);
  };
  change(
      ".weight_packed", [](torch::Tensor t) { return at::cat({t, t}, 1); },
      "asks for shape [24, 2]");
  change(
      ".weight_scale", [](torch::Tensor t) { return at::cat({t, t}, 1); },
      "asks for shape [24, 2]");
  change(".weight_scale", [](torch::Tensor t) { return t.to(at::kHalf); }, "mixes dtypes");
  change(".weight_scale", [](torch::Tensor t) { return t.neg(); }, "positive and finite");
  change(
      ".weight_shape", [](torch::Tensor t) { return t.flip(0); },
      "asks for [24, 16]. Got [16, 24]");
  refuse(
      [](PackedFolder& packed) {
        packed.tensors[kUp + ".weight_g_idx"] = at::zeros({16}, at::kInt);
      },
      "does not ask for: " + kUp + ".weight_g_idx");
  refuse([](PackedFolder& packed) { packed.tensors[kUp + ".weight"] = at::zeros({24, 16}); },
         "does not ask for: " + kUp + ".weight");
}

TEST_CASE("load_model: a symmetric file has no zero points", "[model]") {
  PackedFolder packed({.bits = 4, .group = 8, .symmetric = true});
  CHECK(packed.load()->layers() == 2);
  packed.tensors[kUp + ".weight_zero_point"] = at::zeros({3, 2}, at::kInt);
  require_format_error([&] { packed.load(); }, packed.path(), "weight_zero_point");
}

TEST_CASE("load_model: bits after the last code must be zero", "[model]") {
  PackedFolder packed({.bits = 4}, {.head_dim = 6});  // k_proj has 12 rows: 48 of 64 bits
  const std::string name = "model.layers.0.self_attn.k_proj.weight_zero_point";
  REQUIRE(packed.tensors.at(name).size(0) == 2);
  CHECK(packed.load()->layers() == 2);
  packed.tensors.at(name)[1][0].bitwise_or_(int32_t{1} << 16);
  require_format_error([&] { packed.load(); }, packed.path(), "must be zero");
  const auto lazy = [&] { packed.load({.lazy = true})->block(0); };
  require_format_error(lazy, packed.path(), name);
}

TEST_CASE("make_model: a state dict is dense, so its config must not say packed", "[model]") {
  const PackedFolder packed;
  const auto model = packed.load();
  require_format_error([&] { make_model(model->config().text, model->state_dict()); }, "config",
                       "leave this field out");
}

}  // namespace cupel::test
