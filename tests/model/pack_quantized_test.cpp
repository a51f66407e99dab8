#include "support/catch.h"
#include <filesystem>

#include "core/json.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/file.h"
#include "support/quantized_model.h"

namespace cupel::test {

namespace {

namespace fs = std::filesystem;

const SaveOptions kPacked{.format = "pack-quantized"};
const std::string kUp = "model.layers.1.mlp.up_proj";

uint64_t weight_bytes(const std::string& dir) { return fs::file_size(dir + "/model.safetensors"); }

void require_same_codes(const Model& a, const Model& b) {
  std::map<std::string, Quantized> expected;
  for_each_linear(
      a, [&](const std::string& name, Linear& linear) { expected[name] = linear.quantized(); });
  for_each_linear(b, [&](const std::string& name, Linear& linear) {
    INFO(name);
    const Quantized quantized = linear.quantized();
    REQUIRE(quantized.defined() == expected.at(name).defined());
    if (!quantized.defined()) return;
    REQUIRE(quantized.bits == expected.at(name).bits);
    REQUIRE(quantized.codes.equal(expected.at(name).codes));
    REQUIRE(quantized.scales.equal(expected.at(name).scales));
    REQUIRE(quantized.zeros.equal(expected.at(name).zeros));
    REQUIRE(quantized.group_index.equal(expected.at(name).group_index));
  });
}

}  // namespace

TEST_CASE("pack-quantized: weights and codes come back bit for bit", "[model]") {
  const TemporaryFolder folder;
  int64_t number = 0;
  for (const int64_t bits : {4, 8}) {
    for (const int64_t group : {0, 8}) {
      for (const bool symmetric : {false, true}) {
        for (const char* dtype : {"float32", "bfloat16"}) {
          INFO(bits << " bits, group " << group << ", symmetric " << symmetric << ", " << dtype);
          const std::string dir = folder.file(c10::str("packed-", ++number));
          const std::string again = dir + "-again";
          const Grid grid{
              .bits = bits, .group = group, .symmetric = symmetric, .scale_dtype = dtype};
          const bool half = dtype == std::string("bfloat16");
          const auto model =
              quantized_model(grid, {.bias = true}, half ? at::kBFloat16 : at::kFloat);
          save_model(*model, dir, kPacked);
          for (const bool lazy : {false, true}) {
            const auto back = load_model(dir, {.lazy = lazy});
            REQUIRE(back->dtype() == model->dtype());
            REQUIRE(back->fingerprint() == model->fingerprint());
            REQUIRE(back->tensor_shapes() == model->tensor_shapes());
            REQUIRE(back->state_dict().size() == model->state_dict().size());
            REQUIRE(back->linear_names() == model->linear_names());
            require_same_codes(*model, *back);
            save_model(*back, again, kPacked);
            for (const char* name : {"/model.safetensors", "/config.json"})
              REQUIRE(sha256(read_file(again + name)) == sha256(read_file(dir + name)));
          }
          const auto tokens = tiny_tokens(9, 3).unsqueeze(0);
          REQUIRE(
              at::equal(load_model(dir, {.lazy = true})->logits(tokens), model->logits(tokens)));
        }
      }
    }
  }
}

TEST_CASE("pack-quantized: tensors, config and record of the file", "[model]") {
  const TemporaryFolder folder;
  const auto model = quantized_model({.bits = 4, .group = 8}, {.bias = true});
  save_model(*model, folder.file("packed"), kPacked);
  const SafetensorsFile file(folder.file("packed") + "/model.safetensors");
  const auto is = [&](const std::string& name, torch::Dtype dtype, std::vector<int64_t> shape) {
    INFO(name);
    CHECK(file.info(name).dtype == dtype);
    CHECK(file.info(name).shape == shape);
  };
  is(kUp + ".weight_packed", at::kInt, {24, 2});
  is(kUp + ".weight_scale", at::kFloat, {24, 2});
  is(kUp + ".weight_zero_point", at::kInt, {3, 2});
  is(kUp + ".weight_shape", at::kLong, {2});
  is(kUp + ".bias", at::kFloat, {24});
  is("model.layers.1.mlp.down_proj.weight_packed", at::kInt, {16, 3});
  is("model.embed_tokens.weight", at::kFloat, {50, 16});
  CHECK_FALSE(file.contains(kUp + ".weight"));

  const Json config = read_json(folder.file("packed") + "/config.json");
  CHECK(config["vocab_size"] == 50);
  const Json& quantization = config["quantization_config"];
  CHECK(quantization["quant_method"] == "compressed-tensors");
  CHECK(quantization["format"] == "pack-quantized");
  CHECK(quantization["quantization_status"] == "compressed");
  CHECK(quantization["ignore"] == Json::array({"lm_head"}));
  REQUIRE(quantization["config_groups"].size() == 1);
  const Json& group = quantization["config_groups"]["group_0"];
  CHECK(group["targets"] == Json::array({"Linear"}));
  CHECK(group["weights"]["num_bits"] == 4);
  CHECK(group["weights"]["group_size"] == 8);
  CHECK(group["weights"]["strategy"] == "group");
  CHECK(group["weights"]["symmetric"] == false);
  CHECK(group["weights"]["type"] == "int");

  const Json record = read_json(folder.file("packed") + "/cupel.json");
  CHECK(record["format"] == "pack-quantized");
  CHECK(record["tensors"].size() == file.tensors().size());
  const auto words = file.read(kUp + ".weight_packed");
  const std::string bytes(static_cast<const char*>(words.const_data_ptr()), words.nbytes());
  CHECK(record["tensors"][kUp + ".weight_packed"]["sha256"] == sha256(bytes));
}

TEST_CASE("pack-quantized: the file has the size of its parts", "[model]") {
  const TemporaryFolder folder;
  const auto model = quantized_model({.bits = 4, .group = 16}, {.width = 8});
  save_model(*model, folder.file("packed"), kPacked);
  save_model(*model, folder.file("dense"));
  uint64_t dense = 0, packed = 0;
  for (const auto& [name, tensor] : model->state_dict()) dense += tensor.nbytes();
  packed = dense;
  for_each_linear(*model, [&](const std::string&, Linear& linear) {
    const int64_t weights = linear.weight().numel();
    packed -= 4 * weights;
    packed += weights / 2 + weights / 16 * 4 + weights / 32 + 16;  // codes, scales, zeros, shape
  });
  CHECK(packed < dense / 3);
  const uint64_t header = weight_bytes(folder.file("packed")) - packed;
  CHECK(header < 14 * 700 + 2000);
  CHECK(weight_bytes(folder.file("dense")) > dense);
}

TEST_CASE("pack-quantized: layers that differ are named one by one", "[model]") {
  const TemporaryFolder folder;
  for (const bool tied : {false, true}) {
    const std::string dir = folder.file(tied ? "tied" : "untied");
    const auto model = quantized_model({.bits = 4, .symmetric = true}, {.tied = tied});
    for_each_linear(*model, [&](const std::string& name, Linear& linear) {
      if (name.ends_with("v_proj")) quantize_linear(linear, {.bits = 8, .group = 8});
      // Codes do not outlive a change of the weight, so this one stays dense.
      if (name.ends_with("1.mlp.up_proj")) linear.weight().select(0, 0).zero_();
    });
    save_model(*model, dir, kPacked);
    const Json quantization = read_json(dir + "/config.json")["quantization_config"];
    CHECK(quantization["ignore"] == Json::array({kUp, "lm_head"}));
    const Json& groups = quantization["config_groups"];
    REQUIRE(groups.size() == 2);
    CHECK(groups["group_0"]["targets"].size() == 11);
    CHECK(groups["group_0"]["weights"]["strategy"] == "channel");
    CHECK(groups["group_0"]["weights"]["group_size"].is_null());
    CHECK(groups["group_0"]["weights"]["symmetric"] == true);
    CHECK(groups["group_1"]["targets"] ==
          Json::array({"model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj"}));
    CHECK(groups["group_1"]["weights"]["num_bits"] == 8);
    const auto back = load_model(dir);
    CHECK(back->fingerprint() == model->fingerprint());
    require_same_codes(*model, *back);
  }
}

TEST_CASE("pack-quantized: parts go to the shard of the weight they replace", "[model]") {
  const TemporaryFolder folder;
  const std::string dense = folder.file("dense"), packed = folder.file("packed");
  fs::create_directories(dense);
  std::map<std::string, std::vector<std::pair<std::string, torch::Tensor>>> shards;
  std::map<std::string, std::string> shard_of;
  uint64_t total = 0;
  int64_t number = 0;
  for (const auto& [name, tensor] : tiny_weights()) {
    shard_of[name] = c10::str("model-0000", ++number % 2 + 1, "-of-00002.safetensors");
    shards[shard_of[name]].emplace_back(name, tensor);
    total += tensor.nbytes();
  }
  for (const auto& [shard, tensors] : shards)
    write_safetensors(dense + "/" + shard, tensors, {{"format", "pt"}, {"note", "kept"}});
  write_index(dense, shard_of, total);
  write_file(dense + "/config.json", tiny_config());
  write_file(dense + "/tokenizer.model", "kept");

  const auto model = load_model(dense);
  quantize_all(*model, {.bits = 8, .group = 8});
  save_model(*model, packed, kPacked);
  CHECK(read_file(packed + "/tokenizer.model") == "kept");
  const CheckpointReader reader(packed);
  CHECK(reader.shard_names() == CheckpointReader(dense).shard_names());
  for (const auto& shard : reader.shard_names()) {
    CHECK(reader.metadata_of_shard(shard).at("note") == "kept");
    for (const auto& name : reader.names_in_shard(shard)) {
      INFO(name);
      const auto end = name.find(".weight_");
      CHECK(shard_of.at(end == std::string::npos ? name : name.substr(0, end) + ".weight") ==
            shard);
    }
  }
  const auto back = load_model(packed);
  CHECK(back->fingerprint() == model->fingerprint());

  // And back: the dense model has its old shards and config again.
  save_model(*back, folder.file("unpacked"));
  CHECK(load_model(folder.file("unpacked"))->fingerprint() == model->fingerprint());
  CHECK(CheckpointReader(folder.file("unpacked")).names() == CheckpointReader(dense).names());
  CHECK_FALSE(read_json(folder.file("unpacked") + "/config.json").contains("quantization_config"));
  CHECK(read_json(folder.file("unpacked") + "/cupel.json")["format"] == "dense");
}

TEST_CASE("pack-quantized: a folder can be written over by its own model in either format",
          "[model]") {
  const TemporaryFolder folder;
  const std::string dir = folder.file("model");
  const auto first = quantized_model({.bits = 4});
  save_model(*first, dir, kPacked);
  for (const char* format : {"pack-quantized", "dense"}) {
    save_model(*load_model(dir, {.lazy = true}), dir, {.format = format});
    CHECK(load_model(dir)->fingerprint() == first->fingerprint());
  }
}

TEST_CASE("pack-quantized: loading in another dtype computes in float32 and casts once",
          "[model]") {
  const TemporaryFolder folder;
  const Grid grid{.bits = 4, .group = 8, .scale_dtype = "bfloat16"};
  save_model(*quantized_model(grid, {}, at::kBFloat16), folder.file("half"), kPacked);
  const auto wide = load_model(folder.file("half"), {.dtype = "float32"});
  for_each_linear(*wide, [](const std::string& name, Linear& linear) {
    INFO(name);
    CHECK(linear.weight().scalar_type() == at::kFloat);
    REQUIRE(linear.quantized().defined());
    CHECK(dequantize(linear.quantized()).equal(linear.weight()));
  });
  save_model(*wide, folder.file("wide"), kPacked);
  CHECK(read_json(folder.file("wide") + "/config.json")["dtype"] == "float32");
  CHECK(load_model(folder.file("wide"))->fingerprint() == wide->fingerprint());

  // float32 scales do not fit a bfloat16 file, but the dense weights do.
  save_model(*quantized_model({.bits = 4}), folder.file("float"), kPacked);
  const auto narrow = load_model(folder.file("float"), {.dtype = "bfloat16"});
  for_each_linear(*narrow, [](const std::string&, Linear& linear) {
    CHECK(dequantize(linear.quantized()).to(at::kBFloat16).equal(linear.weight()));
  });
  CHECK_THROWS_WITH(save_model(*narrow, folder.file("narrow"), kPacked),
                    Catch::Contains("scale_dtype=\"bfloat16\""));
  save_model(*narrow, folder.file("narrow"));
  CHECK(load_model(folder.file("narrow"))->fingerprint() == narrow->fingerprint());
}

TEST_CASE("pack-quantized: refusals name the layer and leave no file", "[model]") {
  const TemporaryFolder folder;
  const std::string out = folder.file("out");
  const auto refuse = [&](const Model& model, const std::string& rule) {
    CHECK_THROWS_AS(save_model(model, out, kPacked), std::invalid_argument);
    CHECK_THROWS_WITH(save_model(model, out, kPacked),
                      Catch::StartsWith("[save_model] ") && Catch::Contains(rule));
    CHECK(folder.names().empty());
  };
  refuse(*tiny_model(), "needs a quantized layer");
  refuse(*quantized_model({.bits = 3}), "4 or 8 bits. Got 3 in model.layers.0.self_attn.q_proj");
  refuse(*quantized_model({.bits = 4, .group = 5}), "divides 16, or with group=0");
  refuse(*quantized_model({.bits = 4}, {}, at::kBFloat16), "scale_dtype=\"bfloat16\"");
  const auto last = quantized_model({.bits = 4});
  for_each_linear(*last, [&](const std::string& name, Linear& linear) {
    if (name != "model.layers.1.mlp.down_proj") return;
    Quantized quantized = linear.quantized();
    quantized.codes = 15 - quantized.codes;
    linear.set_compressed(linear.weight(), {}, quantized);
  });
  refuse(*last, "its codes stand for");
  for_each_linear(*last, [](const std::string&, Linear& linear) {
    Quantized quantized = linear.quantized();
    quantized.scales = torch::Tensor();
    linear.set_compressed(linear.weight(), {}, quantized);
  });
  CHECK_THROWS_WITH(save_model(*last, out, kPacked),
                    Catch::Contains("needed together") && Catch::Contains("0.self_attn.q_proj"));
  CHECK_THROWS_WITH(save_model(*last, out, {.format = "gguf"}), Catch::Contains("Got 'gguf'"));
  CHECK(folder.names().empty());
}

TEST_CASE("pack-quantized: a pruned and quantized weight keeps its zeros", "[model]") {
  const TemporaryFolder folder;
  const auto model = tiny_model();
  for_each_linear(*model, [](const std::string&, Linear& linear) {
    linear.set_weight(linear.weight() * (linear.weight().abs() > 0.2));
    quantize_linear(linear, {.bits = 4, .group = 8});
  });
  save_model(*model, folder.file("packed"), kPacked);
  for_each_linear(*load_model(folder.file("packed")), [](const std::string&, Linear& linear) {
    CHECK(linear.weight().eq(0).sum().item<int64_t>() >= linear.weight().numel() / 4);
  });
}

}  // namespace cupel::test
