#include "cupel/eval/run_record.h"

#include "support/catch.h"
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

RunManifest manifest() {
  return {.cupel = "1.0",
          .task = "quiz",
          .task_version = "2",
          .protocols = {"strict", "paper"},
          .options = {{"shots", "5"}},
          .data_file = "quiz.jsonl",
          .data_sha256 = "data",
          .items = 3,
          .items_sha256 = "ids",
          .requests_sha256 = "requests",
          .tokenizer = "tokens",
          .model = "weights",
          .dtype = "Float",
          .device = "cpu",
          .vocabulary = 10,
          .scorer = {{"boundary", "joint"}},
          .seed = 7,
          .limit = 3};
}

}  // namespace

TEST_CASE("RunManifest: JSON there and back is the same") {
  const std::string json = manifest().to_json();
  CHECK(json.find('\n') == std::string::npos);
  CHECK(RunManifest::from_json(json, "m").to_json() == json);
  auto changed = nlohmann::json::parse(json);
  changed.erase("seed");
  require_format_error([&] { RunManifest::from_json(changed.dump(), "m.json"); }, "m.json",
                       "is no manifest of a run");
}

TEST_CASE("manifest_difference: every field is looked at, and the first named") {
  const RunManifest first = manifest();
  CHECK(manifest_difference(first, first).empty());
  const auto differs = [&](auto change, const std::string& said, bool model) {
    RunManifest other = manifest();
    change(other);
    CHECK(manifest_difference(first, other) == said);
    CHECK(manifest_difference(first, other, false) == (model ? "" : said));
  };
  differs([](auto& m) { m.cupel = "1.1"; }, "cupel: 1.0 and 1.1", true);
  differs([](auto& m) { m.task = "test"; }, "task: quiz and test", false);
  differs([](auto& m) { m.task_version = "3"; }, "task_version: 2 and 3", false);
  differs([](auto& m) { m.protocols = {"strict"}; },
          R"(protocols: ["strict","paper"] and ["strict"])", false);
  differs([](auto& m) { m.options["shots"] = "0"; }, "options.shots: 5 and 0", false);
  differs([](auto& m) { m.options["more"] = "0"; }, "options.more: nothing and 0", false);
  differs([](auto& m) { m.data_file = "q"; }, "data.file: quiz.jsonl and q", true);
  differs([](auto& m) { m.data_sha256 = "d"; }, "data.sha256: data and d", false);
  differs([](auto& m) { m.items = 2; }, "items.count: 3 and 2", false);
  differs([](auto& m) { m.items_sha256 = "i"; }, "items.sha256: ids and i", false);
  differs([](auto& m) { m.requests_sha256 = "r"; }, "requests_sha256: requests and r", false);
  differs([](auto& m) { m.tokenizer = "t"; }, "tokenizer: tokens and t", false);
  differs([](auto& m) { m.model = "w"; }, "model.fingerprint: weights and w", true);
  differs([](auto& m) { m.dtype = "Half"; }, "model.dtype: Float and Half", true);
  differs([](auto& m) { m.device = "cuda"; }, "model.device: cpu and cuda", true);
  differs([](auto& m) { m.vocabulary = 9; }, "model.vocabulary: 10 and 9", true);
  differs([](auto& m) { m.scorer["boundary"] = "split"; }, "scorer.boundary: joint and split",
          false);
  differs([](auto& m) { m.seed = 8; }, "seed: 7 and 8", false);
  differs([](auto& m) { m.limit = 0; }, "limit: 3 and 0", false);
}

TEST_CASE("RunRecord: goes on as it began, and only so") {
  const TemporaryFolder folder;
  const std::string path = folder.file("deep/er/quiz.jsonl");
  {
    RunRecord record(path, manifest(), false);
    CHECK(record.recorded().empty());
    CHECK(record.path() == path);
  }
  {  // nothing was recorded, so nothing is refused or lost
    RunRecord record(path, manifest(), false);
    record.append({"{\"item\":\"a\"}"});
  }
  CHECK_THROWS_WITH(RunRecord(path, manifest(), false), Catch::Contains("--resume") &&
                                                            Catch::Contains("--out") &&
                                                            Catch::Contains(path));
  RunManifest other = manifest();
  other.seed = 8;
  CHECK_THROWS_AS(RunRecord(path, other, true), std::invalid_argument);
  CHECK_THROWS_WITH(RunRecord(path, other, true), Catch::Contains("another seed: 7 and 8"));
  other = manifest();
  other.model = "";
  CHECK_THROWS_WITH(RunRecord(path, other, true), Catch::Contains("fingerprint"));
  RunRecord record(path, manifest(), true);
  REQUIRE(record.recorded().size() == 1);
  CHECK(record.recorded()[0] == std::vector<std::string>{"{\"item\":\"a\"}"});
  CHECK_THROWS_WITH(RunRecord(path, manifest(), true), Catch::Contains("Another one is writing"));
}

TEST_CASE("RunRecord: a model without a fingerprint may record, but not resume") {
  const TemporaryFolder folder;
  RunManifest nameless = manifest();
  nameless.model = "";
  {
    RunRecord(folder.file("q.jsonl"), nameless, true).append({"{}"});
  }
  CHECK_THROWS_WITH(RunRecord(folder.file("q.jsonl"), nameless, true),
                    Catch::Contains("whose weights have a fingerprint"));
}

TEST_CASE("RunRecord: another environment is told, not refused") {
  const TemporaryFolder folder;
  {
    RunRecord(folder.file("q.jsonl"), manifest(), false).append({"{}"});
  }
  std::string text = folder.read("q.jsonl");
  const std::string first = text.substr(0, text.find('\n'));
  auto json = nlohmann::ordered_json::parse(first);
  CHECK(json.at("cupel_record") == 1);
  CHECK(json.at("environment").contains("time"));
  CHECK(RunRecord(folder.file("q.jsonl"), manifest(), true).environment_change().empty());
  json["environment"]["torch"] = "0.1";
  folder.write("q.jsonl", json.dump() + text.substr(first.size()));
  CHECK_THAT(RunRecord(folder.file("q.jsonl"), manifest(), true).environment_change(),
             Catch::StartsWith("torch \"0.1\" and "));
}

TEST_CASE("data_sha256: of a file its bytes, of a folder names and bytes") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.file("data/sub"));
  folder.write("data/b.csv", "b");
  folder.write("data/sub/a.csv", "a");
  CHECK(data_sha256(folder.file("data/b.csv")) == sha256("b"));
  CHECK(data_sha256(folder.file("data")) ==
        sha256("b.csv\t" + sha256("b") + "\nsub/a.csv\t" + sha256("a") + "\n"));
  CHECK_THROWS_AS(data_sha256(folder.file("none")), FormatError);
}

TEST_CASE("record_file_name: a name for every task, and another one for each") {
  CHECK(record_file_name("mmlu") == "mmlu.jsonl");
  for (const std::string name : {"a:file=/etc/passwd", "../../x", "..", ".hidden", "a b"}) {
    const std::string made = record_file_name(name);
    INFO(made);
    CHECK(made.find('/') == std::string::npos);
    CHECK(made.front() != '.');
    CHECK(made.ends_with(".jsonl"));
  }
  CHECK(record_file_name("a:b") != record_file_name("a=b"));
  CHECK(record_file_name(std::string(500, 'x')).size() < 110);
}
