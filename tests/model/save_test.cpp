#include "support/catch.h"
#include <filesystem>

#include "core/json.h"
#include "cupel/checkpoint/safetensors.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/model/model.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace cupel::test {

namespace {

namespace fs = std::filesystem;

void require_same(const Model& a, const Model& b) {
  const auto first = a.state_dict(), second = b.state_dict();
  REQUIRE(first.size() == second.size());
  for (const auto& [name, tensor] : first) {
    INFO(name);
    REQUIRE(at::equal(tensor, second.at(name)));
  }
}

// A folder with the tiny model in three shards, a tokenizer file and a licence.
void write_sharded(const std::string& dir) {
  fs::create_directories(dir);
  std::map<std::string, std::vector<std::pair<std::string, torch::Tensor>>> shards;
  std::map<std::string, std::string> shard_of;
  uint64_t total = 0;
  int64_t i = 0;
  for (const auto& [name, tensor] : tiny_weights()) {
    const std::string shard = c10::str("model-0000", ++i % 3 + 1, "-of-00003.safetensors");
    shards[shard].emplace_back(name, tensor);
    shard_of[name] = shard;
    total += tensor.nbytes();
  }
  for (const auto& [shard, tensors] : shards) {
    write_safetensors(dir + "/" + shard, tensors, {{"format", "pt"}, {"note", "kept"}});
  }
  write_index(dir, shard_of, total);
  write_file(dir + "/config.json", tiny_config());
  write_file(dir + "/generation_config.json", "{}");
  write_file(dir + "/tokenizer.model", "not read here");
}

}  // namespace

TEST_CASE("save_model: a model made in memory comes back bit for bit", "[model]") {
  const TemporaryFolder folder;
  for (const bool tied : {false, true}) {
    const auto model = tiny_model({.tied = tied});
    const std::string dir = folder.file(tied ? "tied" : "untied");
    save_model(*model, dir);
    require_same(*model, *load_model(dir));
    REQUIRE(read_safetensors(dir + "/model.safetensors").count("lm_head.weight") == !tied);
  }
}

TEST_CASE("save_model: keeps sharding, metadata and companion files", "[model]") {
  const TemporaryFolder folder;
  const std::string from = folder.file("from"), to = folder.file("to");
  write_sharded(from);
  const auto model = load_model(from);
  save_model(*model, to);
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                           "model-00003-of-00003.safetensors", "model.safetensors.index.json"}) {
    INFO(name);
    REQUIRE(fs::exists(to + "/" + name));
  }
  REQUIRE(read_file(to + "/tokenizer.model") == "not read here");
  REQUIRE(read_file(to + "/generation_config.json") == "{}");
  REQUIRE(read_file(to + "/config.json") == tiny_config());
  const SafetensorsFile shard(to + "/model-00001-of-00003.safetensors");
  REQUIRE(shard.metadata().at("note") == "kept");
  require_same(*model, *load_model(to));
}

TEST_CASE("save_model: one shard with a name of its own keeps its index", "[model]") {
  const TemporaryFolder folder;
  const std::string from = folder.file("from"), shard = "model-00001-of-00001.safetensors";
  fs::create_directories(from);
  const auto weights = tiny_weights();
  std::map<std::string, std::string> shard_of;
  uint64_t total = 0;
  for (const auto& [name, tensor] : weights) {
    shard_of[name] = shard;
    total += tensor.nbytes();
  }
  write_safetensors(from + "/" + shard, {weights.begin(), weights.end()});
  write_index(from, shard_of, total);
  write_file(from + "/config.json", tiny_config());
  const auto model = load_model(from);
  for (int i = 0; i < 2; ++i) {  // the second time over itself
    save_model(*model, folder.file("to"));
    require_same(*model, *load_model(folder.file("to")));
  }
}

TEST_CASE("save_model: the folder that the model was read from can be written over", "[model]") {
  const TemporaryFolder folder;
  const std::string dir = folder.file("model");
  write_sharded(dir);
  for (const bool lazy : {false, true}) {
    const auto model = load_model(dir, {.lazy = lazy});
    const std::string before = model->fingerprint();
    save_model(*model, dir);
    REQUIRE(load_model(dir)->fingerprint() == before);
  }
}

TEST_CASE("save_model: another dtype is written and said in config.json", "[model]") {
  const TemporaryFolder folder;
  write_sharded(folder.file("from"));
  const auto model = load_model(folder.file("from"), {.dtype = "bfloat16"});
  save_model(*model, folder.file("to"));
  const auto back = load_model(folder.file("to"));
  REQUIRE(back->dtype() == torch::kBFloat16);
  REQUIRE(back->config().dtype == "bfloat16");
  require_same(*model, *back);
}

TEST_CASE("save_model: cupel.json holds the SHA-256 of every tensor", "[model]") {
  const TemporaryFolder folder;
  const auto model = tiny_model();
  save_model(*model, folder.file("out"));
  const Json json = read_json(folder.file("out") + "/cupel.json");
  REQUIRE(json["format"] == "dense");
  REQUIRE(json["compression"].empty());
  REQUIRE(json["tensors"].size() == model->state_dict().size());
  for (const auto& [name, tensor] : model->state_dict()) {
    const std::string bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    REQUIRE(json["tensors"][name]["sha256"] == sha256(bytes));
  }
}

TEST_CASE("save_model: the same model gives the same bytes", "[model]") {
  const TemporaryFolder folder;
  save_model(*tiny_model(), folder.file("a"));
  save_model(*tiny_model(), folder.file("b"));
  for (const char* name : {"/model.safetensors", "/cupel.json", "/config.json"}) {
    REQUIRE(read_file(folder.file("a") + name) == read_file(folder.file("b") + name));
  }
}

TEST_CASE("save_model: refuses a folder with other weights and leaves it alone", "[model]") {
  const TemporaryFolder folder;
  folder.write("pytorch_model.bin", "weights of somebody");
  REQUIRE_THROWS_WITH(save_model(*tiny_model(), folder.path()),
                      Catch::Contains("pytorch_model.bin") && Catch::Contains("empty folder"));
  REQUIRE(folder.names() == std::vector<std::string>{"pytorch_model.bin"});
  const std::string file = folder.write("file", "x");
  REQUIRE_THROWS_WITH(save_model(*tiny_model(), file), Catch::Contains("must be a folder"));
  REQUIRE_THROWS_WITH(save_model(*tiny_model(), folder.file("new"), {.format = "zip"}),
                      Catch::Contains("format is dense or pack-quantized"));
  REQUIRE(!fs::exists(folder.file("new")));
}

TEST_CASE("load_model: refuses tensors that are missing, extra or misshapen", "[model]") {
  const TemporaryFolder folder;
  const auto write = [&](const TensorMap& weights) {
    const std::vector<std::pair<std::string, torch::Tensor>> list(weights.begin(), weights.end());
    write_safetensors(folder.file("model.safetensors"), list, {{"format", "pt"}});
    folder.write("config.json", tiny_config());
  };
  TensorMap weights = tiny_weights();
  weights.erase("model.layers.1.mlp.up_proj.weight");
  write(weights);
  REQUIRE_THROWS_WITH(load_model(folder.path()),
                      Catch::Contains("lacks") && Catch::Contains("layers.1.mlp.up_proj.weight"));
  weights = tiny_weights();
  weights["model.layers.0.self_attn.q_proj.bias"] = torch::zeros({16});
  write(weights);
  REQUIRE_THROWS_WITH(load_model(folder.path()),
                      Catch::Contains("does not ask for") && Catch::Contains("q_proj.bias"));
  weights = tiny_weights();
  weights["model.norm.weight"] = torch::ones({17});
  write(weights);
  REQUIRE_THROWS_WITH(load_model(folder.path()),
                      Catch::Contains("model.norm.weight") && Catch::Contains("[17]"));
  weights = tiny_weights();
  weights["model.norm.weight"] = torch::ones({16}, torch::kLong);
  write(weights);
  REQUIRE_THROWS_WITH(load_model(folder.path()), Catch::Contains("float32, bfloat16 or float16"));
  weights = tiny_weights();
  weights["model.norm.weight"] = torch::ones({16}, torch::kHalf);
  write(weights);
  REQUIRE_THROWS_WITH(load_model(folder.path()), Catch::Contains("mixes dtypes"));
  REQUIRE(load_model(folder.path(), {.dtype = "float32"})->dtype() == torch::kFloat);
  weights = tiny_weights();
  weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch::ones({2});
  write(weights);
  REQUIRE(load_model(folder.path())->config().layers == 2);
}

TEST_CASE("load_model: a lazy model computes what an eager one does", "[model]") {
  const TemporaryFolder folder;
  write_sharded(folder.file("model"));
  const auto eager = load_model(folder.file("model"));
  const auto lazy = load_model(folder.file("model"), {.lazy = true});
  REQUIRE(eager->holds_block(1));
  REQUIRE(!lazy->holds_block(1));
  const auto tokens = tiny_tokens(9, 3).unsqueeze(0);
  REQUIRE(at::equal(eager->logits(tokens), lazy->logits(tokens)));
  REQUIRE(!lazy->holds_block(1));
  REQUIRE(eager->fingerprint() == lazy->fingerprint());
}

TEST_CASE("load_model: an unknown dtype or architecture is refused in words", "[model]") {
  const TemporaryFolder folder;
  save_model(*tiny_model(), folder.file("m"));
  REQUIRE_THROWS_WITH(load_model(folder.file("m"), {.dtype = "int8"}), Catch::Contains("bfloat16"));
  std::string config = tiny_config();
  config.replace(config.find("LlamaForCausalLM"), 16, "MambaForCausalLM");
  write_file(folder.file("m") + "/config.json", config);
  REQUIRE_THROWS_WITH(load_model(folder.file("m")),
                      Catch::Contains("MambaForCausalLM") && Catch::Contains("LlamaForCausalLM"));
}

}  // namespace cupel::test
