#include "cupel/report/report.h"

#include "support/catch.h"
#include <cmath>
#include <filesystem>
#include <sstream>

#include "cupel/checkpoint/safetensors.h"
#include "cupel/compress/rtn.h"
#include "cupel/eval/task.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::TemporaryFolder;

namespace {

ReportEntry entry(const std::string& name, const std::vector<double>& losses) {
  Perplexity p;
  p.protocol = "gptq";
  p.length = 8;
  p.file_sha256 = "text";
  p.window_losses = losses;
  p.window_tokens.assign(losses.size(), 7);
  for (const double loss : losses) p.loss += loss / static_cast<double>(losses.size());
  p.value = std::exp(p.loss);
  ReportEntry made{name, {}, 1000, 0};
  made.scores.perplexities["perplexity"] = p;
  made.scores.metrics["perplexity"]["gptq"]["perplexity"] = p.value;
  return made;
}

std::string cell(const Table& table, std::size_t row, const std::string& column) {
  const auto found = std::find(table.columns.begin(), table.columns.end(), column);
  REQUIRE(found != table.columns.end());
  return table.rows.at(row).at(found - table.columns.begin());
}

}  // namespace

TEST_CASE("Table: CSV quotes what RFC 4180 asks for") {
  const Table table{{"name", "value"}, {{"plain", "1"}, {"a,b", "say \"hi\""}, {"two\nlines", ""}}};
  CHECK(table.to_csv() == "name,value\nplain,1\n\"a,b\",\"say \"\"hi\"\"\"\n\"two\nlines\",\n");
}

TEST_CASE("Table: Markdown keeps its columns whatever a cell holds") {
  const Table table{{"name", "value"}, {{"a|b", "1"}, {"two\nlines", "2"}}};
  CHECK(table.to_markdown() ==
        "| name | value |\n| --- | ---: |\n| a\\|b | 1 |\n| two lines | 2 |\n");
}

TEST_CASE("layer_table: one row a layer, empty cells where nothing was measured") {
  const auto model = test::tiny_model();
  const auto result = compress(*model, {}, Rtn({.bits = 4}));
  const Table table = layer_table(result);
  REQUIRE(table.rows.size() == 14);
  for (const auto& row : table.rows) CHECK(row.size() == table.columns.size());
  CHECK(cell(table, 0, "layer") == "model.layers.0.self_attn.q_proj");
  CHECK(cell(table, 0, "rows") == "16");
  CHECK(cell(table, 0, "bits") == "4");
  CHECK(cell(table, 0, "loss").empty());
  CHECK(cell(table, 0, "packed_bytes_computed") == std::to_string(result.layers[0].packed_bytes));
  const auto measured = compress(*test::tiny_model(), test::tiny_calibration({9}), Rtn(Grid{}));
  CHECK(std::stod(cell(layer_table(measured), 3, "relative_error")) ==
        Approx(measured.layers[3].relative_error.value()).epsilon(1e-5));  // six digits are printed
}

TEST_CASE("score_table: dense first, the others against it") {
  const auto dense = entry("dense", {2.0, 1.0, 3.0});
  auto pruned = entry("pruned", {2.5, 1.1, 3.9});
  pruned.packed_bytes = 500;
  const Table table = score_table(dense, {pruned});
  REQUIRE(table.rows.size() == 2);
  for (const auto& row : table.rows) CHECK(row.size() == table.columns.size());
  CHECK(cell(table, 0, "model") == "dense");
  CHECK(cell(table, 0, "ratio").empty());
  CHECK(cell(table, 0, "packed_bytes_computed").empty());
  CHECK(cell(table, 1, "model") == "pruned");
  CHECK(cell(table, 1, "perplexity") == "12.1825");
  CHECK(cell(table, 1, "ratio") == "1.6487");
  CHECK(cell(table, 1, "loss_difference") == "+0.50000");
  CHECK(cell(table, 1, "standard_error") == "0.23094");
  CHECK(cell(table, 1, "disk_bytes") == "1000");
  CHECK(cell(table, 1, "packed_bytes_computed") == "500");
  CHECK(cell(table, 1, "protocol") == "gptq");
  CHECK(cell(table, 1, "length") == "8");
}

TEST_CASE("score_table: without a dense model the paired columns are left out") {
  const Table table = score_table({}, {entry("one", {1.0}), entry("two", {2.0})});
  CHECK(table.rows.size() == 2);
  CHECK(std::find(table.columns.begin(), table.columns.end(), "ratio") == table.columns.end());
  for (const auto& row : table.rows) CHECK(row.size() == table.columns.size());
}

TEST_CASE("score_table: one window has no standard error, another text no row") {
  const Table table = score_table(entry("dense", {2.0}), {entry("pruned", {2.5})});
  CHECK(cell(table, 1, "standard_error").empty());
  auto other = entry("other", {2.5});
  other.scores.perplexities.at("perplexity").file_sha256 = "another";
  CHECK_THROWS_AS(score_table(entry("dense", {2.0}), {other}), std::invalid_argument);
}

namespace {

ReportEntry quiz(const std::string& name, const std::vector<double>& values) {
  ReportEntry made{name, {}, 0, 0};
  auto& items = made.scores.items["quiz"]["strict"];
  for (std::size_t i = 0; i < values.size(); ++i) {
    items.push_back({std::to_string(i), i < 2 ? "x" : "y", "", "", {{"accuracy", values[i]}}});
  }
  made.scores.metrics["quiz"]["strict"] = mean_metrics(items);
  return made;
}

}  // namespace

TEST_CASE("task_table: a row a metric, its difference beside it, categories left out") {
  const auto dense = quiz("dense", {1, 1, 1, 0}), pruned = quiz("pruned", {1, 0, 1, 0});
  const Table alone = task_table({}, {pruned});
  REQUIRE(alone.rows.size() == 1);
  CHECK(alone.rows[0] ==
        std::vector<std::string>{"pruned", "quiz", "strict", "accuracy", "4", "0.5"});
  const Table table = task_table(dense, {pruned});
  REQUIRE(table.rows.size() == 2);
  for (const auto& row : table.rows) CHECK(row.size() == table.columns.size());
  CHECK(cell(table, 0, "value") == "0.75");
  CHECK(cell(table, 0, "difference").empty());
  CHECK(cell(table, 1, "difference") == "-0.2500");
  CHECK(cell(table, 1, "right_to_wrong") == "1");
  CHECK(cell(table, 1, "wrong_to_right") == "0");
  CHECK(cell(table, 1, "p_holm") == "1");
  CHECK(score_table(dense, {pruned}).rows.empty());
  const TemporaryFolder folder;
  write_report(folder.path(), pruned, dense);
  CHECK(folder.read("tasks.csv") == table.to_csv());
  CHECK(folder.read("scores.md") == table.to_markdown());
}

TEST_CASE("write_report: three files that say the same") {
  const TemporaryFolder folder;
  const std::string dir = folder.file("made/here");
  const auto pruned = entry("pruned", {2.5, 1.1});
  const auto dense = entry("dense", {2.0, 1.0});
  write_report(dir, pruned, dense);
  const Table table = score_table(dense, {pruned});
  CHECK(folder.read("made/here/scores.csv") == table.to_csv());
  CHECK(folder.read("made/here/scores.md") == table.to_markdown());
  const EvalResult back =
      EvalResult::from_json(folder.read("made/here/scores.json"), "scores.json");
  CHECK(back.metrics == pruned.scores.metrics);
  CHECK(folder.read("made/here/comparison.json") == compare(dense.scores, pruned.scores).to_json());
  write_report(dir, dense);  // over the old ones
  CHECK(folder.read("made/here/scores.md").find("pruned") == std::string::npos);
  CHECK_FALSE(std::filesystem::exists(dir + "/comparison.json"));
}

TEST_CASE("weight_bytes_on_disk: counts weight files only") {
  const TemporaryFolder folder;
  CHECK(weight_bytes_on_disk(folder.path()) == 0);
  folder.write("config.json", "{}");
  write_safetensors(folder.file("model.safetensors"), {{"w", at::ones({10})}});
  const auto size =
      static_cast<int64_t>(std::filesystem::file_size(folder.file("model.safetensors")));
  CHECK(weight_bytes_on_disk(folder.path()) == size);
  CHECK_THROWS_AS(weight_bytes_on_disk(folder.file("none")), std::invalid_argument);
}
