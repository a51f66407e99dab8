#include "cupel/checkpoint/checkpoint.h"

#include "support/catch.h"

#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/format_error.h"
#include "support/raw_safetensors.h"
#include "support/temporary_folder.h"

using cupel::CheckpointReader;
using cupel::write_safetensors;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;
using namespace std::literals;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

/// config.json and two shards: a and b in one.safetensors, c in two.safetensors; 40 bytes.
struct Sharded : TemporaryFolder {
  Sharded() {
    write("config.json", "{\"model_type\": \"llama\"}");
    write_safetensors(file("one.safetensors"), {{"b", torch::ones({2})}, {"a", torch::zeros({3})}},
                      {{"format", "pt"}});
    write_safetensors(file("two.safetensors"), {{"c", torch::full({5}, 2.0)}});
    index(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")");
  }
  void index(const std::string& map, const std::string& metadata = "{\"total_size\":40}") const {
    write(kIndex, "{\"metadata\":" + metadata + ",\"weight_map\":{" + map + "}}");
  }
};

void require_refused(const TemporaryFolder& folder, const std::string& file,
                     const std::string& rule) {
  require_format_error([&] { CheckpointReader{folder.path()}; }, file, rule);
}

}  // namespace

TEST_CASE("checkpoint: one file", "[checkpoint]") {
  const TemporaryFolder folder;
  folder.write("config.json", " {\"a\": 1}\n");
  write_safetensors(folder.file("model.safetensors"), {{"x", torch::ones({2})}});
  const CheckpointReader reader(folder.path());
  CHECK(reader.dir() == folder.path());
  CHECK(reader.config_text() == " {\"a\": 1}\n");
  CHECK(reader.names() == Names{"x"});
  CHECK(reader.shard_names() == Names{"model.safetensors"});
  CHECK(reader.read("x").equal(torch::ones({2})));
  CHECK(reader.bytes() == 8);
}

TEST_CASE("checkpoint: shards and their index", "[checkpoint]") {
  const Sharded folder;
  const CheckpointReader reader(folder.path());
  CHECK(reader.names() == Names{"a", "b", "c"});
  CHECK(reader.shard_names() == Names{"one.safetensors", "two.safetensors"});
  CHECK(reader.names_in_shard("one.safetensors") == Names{"b", "a"});  // file order
  CHECK(reader.metadata_of_shard("one.safetensors").at("format") == "pt");
  CHECK(reader.metadata_of_shard("two.safetensors").empty());
  CHECK(reader.bytes() == 40);
  CHECK(reader.contains("c"));
  CHECK_FALSE(reader.contains("d"));
  CHECK(reader.info("c").shape == std::vector<int64_t>{5});
  CHECK(reader.read("c").equal(torch::full({5}, 2.0)));
  require_format_error([&] { reader.info("d"); }, folder.path(), "no tensor \"d\"");
  require_format_error([&] { reader.read("d\n"); }, folder.path(), "no tensor");
  CHECK_THROWS_AS(reader.names_in_shard("three.safetensors"), std::invalid_argument);
  CHECK_THROWS_AS(reader.metadata_of_shard(""), std::invalid_argument);
}

TEST_CASE("checkpoint: one file wins over an index, as in transformers", "[checkpoint]") {
  const Sharded folder;
  write_safetensors(folder.file("model.safetensors"), {{"x", torch::ones({2})}});
  CHECK(CheckpointReader(folder.path()).names() == Names{"x"});
}

TEST_CASE("checkpoint: links to files elsewhere are followed", "[checkpoint]") {
  const TemporaryFolder cache;  // the layout of a Hugging Face cache
  fs::create_directories(cache.file("blobs"));
  fs::create_directories(cache.file("snapshots/main"));
  cache.write("blobs/1", "{}");
  write_safetensors(cache.file("blobs/2"), {{"x", torch::ones({2})}});
  const fs::path snapshot = cache.file("snapshots/main");
  fs::create_symlink("../../blobs/1", snapshot / "config.json");
  fs::create_symlink("../../blobs/2", snapshot / "model.safetensors");
  CHECK(CheckpointReader(snapshot.string()).names() == Names{"x"});
  fs::remove(cache.file("blobs/2"));
  require_format_error([&] { CheckpointReader{snapshot.string()}; }, "model.safetensors",
                       "No such file");
}

TEST_CASE("checkpoint: a folder that is none is named as such", "[checkpoint]") {
  const TemporaryFolder folder;
  require_format_error([&] { CheckpointReader{folder.file("none")}; }, "/none", "does not exist");
  require_format_error([&] { CheckpointReader{folder.write("f", "x")}; }, "/f", "not a folder");
  require_refused(folder, folder.path(), "no config.json");
  folder.write("config.json", "{}");
  require_refused(folder, folder.path(), "neither model.safetensors nor");
}

TEST_CASE("checkpoint: config.json must be one strict JSON object", "[checkpoint]") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("model.safetensors"), {{"x", torch::ones({2})}});
  for (const auto& [text, rule] : std::vector<std::pair<std::string, std::string>>{
           {"", "not valid JSON"},
           {"[]", "object"},
           {"{\"a\":1,\"a\":2}", "duplicate key"},
           {"{\"a\":NaN}", "not valid JSON"},
           {"{} {}", "not valid JSON"},
           {"version https://git-lfs.github.com/spec/v1", "git lfs pull"},
           {"<html></html>", "HTML"},
           {"\xEF\xBB\xBF{}", "byte order mark"}}) {
    folder.write("config.json", text);
    require_refused(folder, "config.json", rule);
  }
}

TEST_CASE("checkpoint: weights in other formats are named with what to do", "[checkpoint]") {
  for (const auto* name : {"pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.gguf"}) {
    const TemporaryFolder folder;
    folder.write("config.json", "{}");
    folder.write(name, "x");
    require_refused(folder, name, "safe_serialization=True");
  }
  const TemporaryFolder folder;
  folder.write("config.json", "{}");
  folder.write("model-00001-of-00002.safetensors", "x");
  require_refused(folder, "model-00001-of-00002.safetensors", "neither model.safetensors nor");
}

TEST_CASE("checkpoint: a bad weight file is named", "[checkpoint]") {
  const Sharded folder;
  folder.write("two.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  require_refused(folder, "two.safetensors", "git lfs pull");
  fs::remove(folder.file("two.safetensors"));
  REQUIRE(::mkfifo(folder.file("two.safetensors").c_str(), 0600) == 0);
  require_refused(folder, "two.safetensors", "not a regular file");
  fs::remove(folder.file("two.safetensors"));
  fs::create_directory(folder.file("two.safetensors"));
  require_refused(folder, "two.safetensors", "is a folder");
}

TEST_CASE("checkpoint: shards are plain file names", "[checkpoint]") {
  const Sharded folder;
  fs::create_directory(folder.file("sub"));
  fs::copy(folder.file("two.safetensors"), folder.file("sub/two.safetensors"));
  fs::copy(folder.file("two.safetensors"), folder.file("two.bin"));
  const std::string parent = fs::path(folder.path()).filename().string();
  for (const std::string& shard :
       {"sub/two.safetensors"s, "./two.safetensors"s, "../" + parent + "/two.safetensors",
        folder.file("two.safetensors"), "sub\\\\two.safetensors"s, "two.safetensors\\u0000"s,
        "\\u0000two.safetensors"s, "..safetensors"s, ".safetensors"s, "two.bin"s, ""s, "."s, ".."s,
        "two.safetensors/"s, "two.safetensors "s, "a\\u001b/two.safetensors"s}) {
    CAPTURE(shard);
    folder.index(R"("a":"one.safetensors","b":"one.safetensors","c":")" + shard + "\"");
    require_refused(folder, kIndex, "plain file name");
  }
}

TEST_CASE("checkpoint: the index is strict", "[checkpoint]") {
  const Sharded folder;
  const std::string map = R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")";
  const auto refuse = [&](const std::string& text, const std::string& rule) {
    CAPTURE(text);
    folder.write(kIndex, text);
    require_refused(folder, kIndex, rule);
  };
  refuse("", "not valid JSON");
  refuse("[]", "object");
  refuse("{}", "weight_map");
  refuse("{\"weight_map\":[]}", "weight_map");
  refuse("{\"weight_map\":{}}", "weight_map");
  refuse("{\"weight_map\":{" + map + ",\"a\":\"one.safetensors\"}}", "duplicate key \"a\"");
  refuse("{\"weight_map\":{" + map + ",\"\\u0061\":\"two.safetensors\"}}", "duplicate key");
  refuse("{\"weight_map\":{" + map + "},\"weight_map\":{" + map + "}}", "duplicate key");
  refuse("{\"weight_map\":{\"a\":1}}", "must be a string");
  refuse("{\"weight_map\":{\"a\":[\"one.safetensors\"]}}", "must be a string");
  refuse("{\"weight_map\":{\"\":\"one.safetensors\"}}", "must not be empty");
  refuse("{\"weight_map\":{" + map + "},\"metadata\":[]}", "metadata");
  refuse("<!doctype html>", "HTML");
  folder.write(kIndex, "{\"weight_map\":{" + map + "},\"note\":1}");
  CHECK_NOTHROW(CheckpointReader(folder.path()));
}

TEST_CASE("checkpoint: total_size is an integer and true", "[checkpoint]") {
  const Sharded folder;
  const auto with = [&](const std::string& metadata) {
    CAPTURE(metadata);
    folder.index(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")", metadata);
  };
  for (const char* good : {"{\"total_size\":40}", "{\"total_size\":40.0}", "{\"total_size\":4e1}",
                           "{}", "{\"total_parameters\":10}"}) {
    with(good);
    CHECK_NOTHROW(CheckpointReader(folder.path()));
  }
  for (const char* bad :
       {"-40", "40.5", "\"40\"", "null", "true", "[40]", "1e300", "18446744073709551656", "-0"}) {
    with("{\"total_size\":"s + bad + "}");
    require_refused(folder, kIndex, "non-negative integer");
  }
  for (const char* lie : {"39", "41", "0", "41.0"}) {
    with("{\"total_size\":"s + lie + "}");
    require_refused(folder, kIndex, "must be the bytes of all tensors, 40");
  }
}

TEST_CASE("checkpoint: index and shards must agree", "[checkpoint]") {
  const Sharded folder;
  folder.index(R"("a":"one.safetensors","b":"one.safetensors","c":"six.safetensors")");
  require_refused(folder, kIndex, "missing shard files that the index names: six.safetensors");
  folder.index(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors",)"
               R"("d":"two.safetensors")");
  require_refused(folder, kIndex, "missing from the shards that the index names: d in two");
  folder.index(R"("a":"one.safetensors","b":"two.safetensors","c":"two.safetensors")");
  require_refused(folder, kIndex, "another shard than the index says: b in one");
  folder.index(R"("a":"one.safetensors","c":"two.safetensors")");
  require_refused(folder, kIndex, "extra tensors in the shards that the index does not name: b");
  write_safetensors(folder.file("two.safetensors"),
                    {{"c", torch::ones({1})}, {"a", torch::zeros({3})}});
  folder.index(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")");
  require_refused(folder, kIndex, "in two shards: a in one.safetensors and in two.safetensors");
}

TEST_CASE("checkpoint: at most ten names are listed", "[checkpoint]") {
  const Sharded folder;
  std::string map = R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")";
  for (int i = 10; i < 35; ++i) map += ",\"n" + std::to_string(i) + "\":\"two.safetensors\"";
  folder.index(map);
  require_refused(folder, kIndex, "25 tensors are missing");
  require_refused(folder, kIndex, "n19 in two.safetensors and 15 more");
}

TEST_CASE("checkpoint: a written index is read back", "[checkpoint]") {
  const Sharded folder;
  cupel::write_index(folder.path(),
                     {{"c", "two.safetensors"}, {"a", "one.safetensors"}, {"b", "one.safetensors"}},
                     40);
  CHECK(folder.read(kIndex) ==
        "{\n  \"metadata\": {\n    \"total_size\": 40\n  },\n  \"weight_map\": {\n"
        "    \"a\": \"one.safetensors\",\n    \"b\": \"one.safetensors\",\n"
        "    \"c\": \"two.safetensors\"\n  }\n}\n");
  CHECK(CheckpointReader(folder.path()).names().size() == 3);
  CHECK_THROWS_AS(cupel::write_index(folder.path(), {{"a", "../x.safetensors"}}, 1),
                  std::invalid_argument);
}

TEST_CASE("copy_companion_files: everything but weights goes along", "[checkpoint]") {
  const Sharded from;
  const TemporaryFolder to;
  from.write("tokenizer.json", "{\"t\": 1}");
  from.write("tokenizer.model", std::string(3'000'000, 'm'));
  from.write("LICENSE", "free");
  from.write(".config.json.tmp-1-0", "half");
  for (const auto* weights : {"pytorch_model.bin", "pytorch_model.bin.index.json", "a.pt", "b.pth",
                              "c.gguf", "model.safetensors"})
    from.write(weights, "x");
  fs::create_directory(from.file("folder"));
  to.write("LICENSE", "an older one");
  cupel::copy_companion_files(from.path(), to.path(), {"config.json"});
  CHECK(to.names() == Names{"LICENSE", "tokenizer.json", "tokenizer.model"});
  CHECK(to.read("LICENSE") == "free");
  CHECK(to.read("tokenizer.model") == from.read("tokenizer.model"));
}

TEST_CASE("copy_companion_files: into the same folder changes nothing", "[checkpoint]") {
  const Sharded folder;
  const Names before = folder.names();
  cupel::copy_companion_files(folder.path(), folder.path() + "/.");
  CHECK(folder.names() == before);
}

TEST_CASE("copy_companion_files: a missing source is a FormatError", "[checkpoint]") {
  const TemporaryFolder to;
  require_format_error([&] { cupel::copy_companion_files(to.file("none"), to.path()); }, "/none",
                       "not a folder");
}
