#include "cupel/eval/evaluate.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include "support/catch.h"
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/model/model.h"
#include "support/fake_model.h"
#include "support/fake_tokenizer.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::letters;
using cupel::test::TemporaryFolder;

namespace {
const std::string kText = "the cat sat on the mat and the dog ate the bat";
}

TEST_CASE("evaluate: a task gives metrics under its name and protocol") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  auto model = test::uniform_model(32);
  const EvalResult scores = evaluate(model, letters(), {"perplexity:file=" + file + ",length=8"});
  const auto& metrics = scores.metrics.at("perplexity").at("gptq");
  CHECK(metrics.at("perplexity") == Approx(32.0).epsilon(1e-6));
  CHECK(metrics.at("windows") == static_cast<double>(scores.perplexities.at("perplexity").windows));
  CHECK(scores.perplexities.at("perplexity").length == 8);
  CHECK(scores.model.fingerprint == "table");
  CHECK(scores.tokenizer == letters().fingerprint());
  CHECK(scores.manifests.at("perplexity").data_sha256 == sha256(kText));
  CHECK(scores.manifests.at("perplexity").model == "table");
}

TEST_CASE("evaluate: a perplexity in batches is the one that perplexity() measures") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const auto model = test::tiny_model();
  NativeTokenModel native(*model);
  const auto once = perplexity(native, letters(), file, {.length = 8});
  const auto got = evaluate(*model, letters(), {"perplexity"}, {.text = file, .length = 8});
  CHECK(got.perplexities.at("perplexity").value == once.value);
  CHECK(got.perplexities.at("perplexity").window_losses == once.window_losses);
  const auto part =
      evaluate(*model, letters(), {"perplexity"}, {.text = file, .length = 8, .limit = 2});
  const Perplexity& first = part.perplexities.at("perplexity");
  CHECK(first.windows == 2);
  CHECK(first.window_losses ==
        std::vector<double>(once.window_losses.begin(), once.window_losses.begin() + 2));
  CHECK(first.loss == Approx((once.window_losses[0] + once.window_losses[1]) / 2));
  REQUIRE(first.notes.size() == 1);
  CHECK_THAT(first.notes[0], Catch::Contains("The first 2 of"));
}

TEST_CASE("evaluate: the text comes from the task, the options or the data folder") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  std::filesystem::create_directories(folder.file("wikitext2"));
  folder.write("wikitext2/wiki.test.raw", kText + kText);
  auto model = test::uniform_model(32);
  const auto name = [&](const std::string& task, const EvaluateOptions& options) {
    return evaluate(model, letters(), {task}, options).perplexities.at("perplexity").file;
  };
  CHECK(name("perplexity", {.text = file, .length = 8}) == "text.txt");
  CHECK(name("perplexity", {.data = folder.path(), .length = 8}) == "wiki.test.raw");
  CHECK(name("perplexity:file=" + file, {.data = folder.path(), .length = 8}) == "text.txt");
  CHECK_THROWS_WITH(evaluate(model, letters(), {"perplexity"}),
                    Catch::Contains("perplexity needs a text"));
}

TEST_CASE("evaluate: several tasks keep apart") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const auto model = test::tiny_model();
  const std::vector<std::string> tasks{"perplexity:length=4", "perplexity:length=8"};
  const EvalResult scores = evaluate(*model, letters(), tasks, {.text = file});
  CHECK(scores.perplexities.at(tasks[0]).length == 4);
  CHECK(scores.perplexities.at(tasks[1]).length == 8);
  CHECK(scores.model.fingerprint == model->fingerprint());
  CHECK_THROWS_WITH(evaluate(*model, letters(), {tasks[0], tasks[0]}, {.text = file}),
                    Catch::Contains("a task stands once"));
}

TEST_CASE("evaluate: task texts that cannot be read are refused before any work") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  int64_t runs = 0;
  CallableTokenModel model(
      [&](const torch::Tensor& tokens) {
        ++runs;
        return at::zeros({1, tokens.size(1), 32});
      },
      {.vocabulary = 32, .max_length = 16});
  for (const auto& [task, rule] : std::vector<std::pair<std::string, std::string>>{
           {"no_such", "unknown task 'no_such'; known: "},
           {"", "unknown task ''"},
           {"perplexity:", "name:key=value"},
           {"perplexity:file", "name:key=value"},
           {"perplexity:=3", "name:key=value"},
           {"perplexity:length=4,", "name:key=value"},
           {"perplexity:length=4,length=5", "a task option stands once"},
           {"perplexity:length=four", "perplexity:length is a whole number from 0. Got 'four'"},
           {"perplexity:length=4x", "perplexity:length is a whole number"},
           {"perplexity:length=", "perplexity:length is a whole number"},
           {"perplexity:length=-4", "perplexity:length is a whole number"},
           {"perplexity:lenght=4",
            "perplexity knows the options file, protocols, length, stride, protocol, bos. Got "
            "'lenght'"},
           {"perplexity:protocol=other",
            "protocols are gptq, harness, llamacpp and strided. Got 'other'"}}) {
    INFO(task);
    const auto run = [&, task = task] {
      evaluate(model, letters(), {"perplexity:length=8", task}, {.text = file});
    };
    CHECK_THROWS_AS(run(), std::invalid_argument);
    CHECK_THROWS_WITH(run(), Catch::Contains(rule));
    CHECK(runs == 0);
  }
  CHECK_THROWS_AS(evaluate(model, letters(), {}), std::invalid_argument);
}

TEST_CASE("EvalResult: JSON there and back is the same") {
  const TemporaryFolder folder;
  const auto model = test::tiny_model();
  const EvalResult scores =
      evaluate(*model, letters(), {"perplexity:length=8"}, {.text = folder.write("t.txt", kText)});
  const std::string text = scores.to_json();
  const EvalResult back = EvalResult::from_json(text, "scores.json");
  CHECK(back.to_json() == text);
  CHECK(back.metrics == scores.metrics);
  const Perplexity &a = scores.perplexities.at("perplexity"),
                   &b = back.perplexities.at("perplexity");
  CHECK(a.value == b.value);
  CHECK(a.window_losses == b.window_losses);
  CHECK(a.file_sha256 == b.file_sha256);
  CHECK(b.model.fingerprint == model->fingerprint());
}

TEST_CASE("EvalResult: a perplexity beyond float64 survives JSON") {
  const TemporaryFolder folder;
  auto table = at::zeros({32, 32});
  table.select(1, letters().encode("z", false)[0]).fill_(1e4f);  // the text has no z
  auto model = test::table_model(table);
  const EvalResult scores =
      evaluate(model, letters(), {"perplexity:length=8"}, {.text = folder.write("t.txt", kText)});
  CHECK(scores.perplexities.at("perplexity").loss == Approx(1e4));
  const EvalResult back = EvalResult::from_json(scores.to_json(), "scores.json");
  CHECK(back.perplexities.at("perplexity").value == std::numeric_limits<double>::infinity());
  CHECK(back.perplexities.at("perplexity").loss == scores.perplexities.at("perplexity").loss);
  CHECK(back.to_json() == scores.to_json());
}

TEST_CASE("EvalResult: a file that is no result is refused by name") {
  const auto refused = [](const std::string& text) {
    CHECK_THROWS_AS(EvalResult::from_json(text, "scores.json"), FormatError);
    CHECK_THROWS_WITH(EvalResult::from_json(text, "scores.json"), Catch::Contains("scores.json"));
  };
  refused("");
  refused("{}");
  refused("[1]");
  auto json = nlohmann::json::parse(EvalResult().to_json());
  CHECK_NOTHROW(EvalResult::from_json(json.dump(), "scores.json"));
  json["model"]["vocabulary"] = "many";
  refused(json.dump());
  json = nlohmann::json::parse(EvalResult().to_json());
  json["perplexities"]["perplexity"] = {{"loss", 1.0}};
  refused(json.dump());
  json["perplexities"] = 3;
  refused(json.dump());
}
