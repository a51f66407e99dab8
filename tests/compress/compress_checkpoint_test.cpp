#include "support/catch.h"
#include <filesystem>

#include "core/json.h"
#include "cupel/compress/compress_model.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/rtn.h"
#include "cupel/core/file.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace cupel::test {

namespace {

namespace fs = std::filesystem;

std::string saved_tiny_model(const TemporaryFolder& folder) {
  save_model(*tiny_model(), folder.file("dense"));
  write_file(folder.file("dense") + "/tokenizer.model", "kept");
  return folder.file("dense");
}

}  // namespace

TEST_CASE("compress_checkpoint: writes the bytes that compress and save_model write",
          "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder);
  const Calibration calibration = tiny_calibration({20, 20, 7});
  for (const char* propagation : {"staged", "block", "dense"}) {
    INFO(propagation);
    const Prune method("wanda", unstructured(0.5));
    const auto model = load_model(dense);
    const std::string memory = folder.file(c10::str("memory-", propagation));
    const std::string disk = folder.file(c10::str("disk-", propagation));
    compress(*model, calibration, method, {.propagation = propagation});
    save_model(*model, memory);
    const auto result =
        compress_checkpoint(dense, calibration, method, disk, {.propagation = propagation});
    REQUIRE(result.layers.size() == 14);
    REQUIRE(result.sparsity() == Approx(0.5).margin(1e-12));
    for (const char* name :
         {"/model.safetensors", "/cupel.json", "/config.json", "/tokenizer.model"}) {
      REQUIRE(read_file(memory + name) == read_file(disk + name));
    }
  }
}

TEST_CASE("compress_checkpoint: cupel.json says what was done", "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder), out = folder.file("out");
  compress_checkpoint(dense, {}, Rtn({.bits = 3}), out, {.skip = {"*.layers.0.*"}});
  const Json run = read_json(out + "/cupel.json")["compression"][0];
  REQUIRE(run["method"] == "rtn 3 bit");
  REQUIRE(run["options"]["bits"] == 3);
  REQUIRE(run["skipped"].size() == 7);
  REQUIRE(run["layers"].size() == 7);
  REQUIRE(run["layers"][0]["loss"].is_null());
  REQUIRE(run["layers"][0]["packed_bytes"] > 0);
  REQUIRE(!run.contains("seconds"));  // nothing in the file varies between runs
  const auto before = load_model(dense)->state_dict(), after = load_model(out)->state_dict();
  const std::string kept = "model.layers.0.self_attn.q_proj.weight";
  const std::string changed = "model.layers.1.self_attn.q_proj.weight";
  REQUIRE(at::equal(before.at(kept), after.at(kept)));
  REQUIRE(!at::equal(before.at(changed), after.at(changed)));
}

TEST_CASE("compress_checkpoint: leaves nothing behind when it fails or is cancelled",
          "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder);
  const std::string before = read_file(dense + "/model.safetensors");
  const std::string out = folder.file("out");
  int reports = 0;
  const auto cancel_late = [&](const Progress& progress) {
    reports += progress.layer_done;
    return reports < 9;
  };
  REQUIRE_THROWS_AS(
      compress_checkpoint(dense, tiny_calibration({10}), Prune("wanda", unstructured(0.5)), out,
                          {.progress = cancel_late}),
      Cancelled);
  REQUIRE(reports == 9);
  REQUIRE(!fs::exists(out));
  REQUIRE_THROWS_WITH(
      compress_checkpoint(dense, tiny_calibration({10}), Prune("wanda", n_of_m(2, 3)), out),
      Catch::Contains("multiple of 3") && Catch::Contains("q_proj"));
  REQUIRE(!fs::exists(out));
  REQUIRE_THROWS_WITH(compress_checkpoint(dense, {}, Rtn({}), dense),
                      Catch::Contains("another folder"));
  REQUIRE(read_file(dense + "/model.safetensors") == before);
}

TEST_CASE("compress_checkpoint: a folder that holds a model is refused before any work",
          "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder), out = folder.file("out");
  fs::create_directories(out);
  write_file(out + "/other.safetensors", "x");
  REQUIRE_THROWS_WITH(compress_checkpoint(dense, {}, Rtn({}), out),
                      Catch::Contains("other.safetensors"));
  REQUIRE(read_file(out + "/other.safetensors") == "x");
}

TEST_CASE("compress_checkpoint: packs what compress and save_model pack", "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder);
  const Rtn method({.bits = 4, .group = 8});
  const CompressOptions options{.skip = {"*.layers.1.mlp.*"}};
  const SaveOptions packed{.format = "pack-quantized"};
  const auto model = load_model(dense);
  compress(*model, {}, method, options);
  save_model(*model, folder.file("memory"), packed);
  compress_checkpoint(dense, {}, method, folder.file("disk"), options, {}, packed);
  for (const char* name :
       {"/model.safetensors", "/cupel.json", "/config.json", "/tokenizer.model"}) {
    INFO(name);
    REQUIRE(read_file(folder.file("memory") + name) == read_file(folder.file("disk") + name));
  }
  REQUIRE(load_model(folder.file("disk"))->fingerprint() == model->fingerprint());

  // From a packed folder: layers that are left alone stay packed, or become dense.
  const CompressOptions one{.only = {"model.layers.1.mlp.up_proj"}};
  compress_checkpoint(folder.file("disk"), {}, Rtn({.bits = 8}), folder.file("more"), one, {},
                      packed);
  const CheckpointReader more(folder.file("more"));
  REQUIRE(more.contains("model.layers.0.mlp.up_proj.weight_packed"));
  REQUIRE(more.contains("model.layers.1.mlp.up_proj.weight_packed"));
  REQUIRE(more.contains("model.layers.1.mlp.down_proj.weight"));
  compress_checkpoint(folder.file("disk"), {}, Rtn({.bits = 8}), folder.file("dense again"), one);
  REQUIRE(load_model(folder.file("dense again"))->fingerprint() ==
          load_model(folder.file("more"))->fingerprint());
}

TEST_CASE("compress_checkpoint: a layer that cannot be packed ends it and leaves nothing",
          "[compress]") {
  const TemporaryFolder folder;
  const std::string dense = saved_tiny_model(folder), out = folder.file("out");
  const auto refuse = [&](const Compressor& method, const std::string& rule) {
    REQUIRE_THROWS_WITH(compress_checkpoint(dense, tiny_calibration({10}), method, out, {}, {},
                                            {.format = "pack-quantized"}),
                        Catch::Contains("q_proj") && Catch::Contains(rule));
    REQUIRE(!fs::exists(out));
  };
  refuse(Prune("wanda", unstructured(0.5)), "choose a method that quantizes");
  refuse(Rtn({.bits = 5}), "4 or 8 bits. Got 5");
  refuse(Rtn({.bits = 4, .group = 6}), "a group that divides 16");
  REQUIRE_THROWS_WITH(
      compress_checkpoint(dense, {}, Rtn({.bits = 4}), out, {}, {}, {.format = "zip"}),
      Catch::Contains("the format is dense or pack-quantized. Got 'zip'"));
  REQUIRE(!fs::exists(out));
}

}  // namespace cupel::test
