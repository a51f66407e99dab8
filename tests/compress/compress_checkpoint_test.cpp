#include <catch2/catch.hpp>
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
    const auto result = compress_checkpoint(dense, calibration, method, disk,
                                            {.propagation = propagation});
    REQUIRE(result.layers.size() == 14);
    REQUIRE(result.sparsity() == Approx(0.5).margin(1e-12));
    for (const char* name : {"/model.safetensors", "/cupel.json", "/config.json",
                             "/tokenizer.model"}) {
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
  REQUIRE_THROWS_AS(compress_checkpoint(dense, tiny_calibration({10}),
                                        Prune("wanda", unstructured(0.5)), out,
                                        {.progress = cancel_late}),
                    Cancelled);
  REQUIRE(reports == 9);
  REQUIRE(!fs::exists(out));
  REQUIRE_THROWS_WITH(compress_checkpoint(dense, tiny_calibration({10}),
                                          Prune("wanda", n_of_m(2, 3)), out),
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

}  // namespace cupel::test
