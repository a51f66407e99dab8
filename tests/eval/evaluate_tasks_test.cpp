// Tasks through records, rounds and shared requests, with scorers that count.
#include "cupel/eval/evaluate.h"

#include "support/catch.h"
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "cupel/core/journal.h"
#include "cupel/model/model.h"
#include "support/fake_scorer.h"
#include "support/fake_tokenizer.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

using namespace cupel;
using cupel::test::FakeScorer;
using cupel::test::letters;
using cupel::test::TemporaryFolder;

namespace {

// Two protocols that share a question; "paper" asks a second one about the answer to the first.
class Dialogue : public Task {
 public:
  TaskInfo info() const override {
    return {.name = "dialogue",
            .version = version,
            .protocols = {"strict", "paper"},
            .options = {{"prefix", "Q", ""}, {"temperature", "0", ""}}};
  }
  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    prefix_ = options.text("prefix");
    temperature_ = options.real("temperature");
    std::vector<TaskItem> items;
    for (int i = 0; i < count; ++i) items.push_back({"item " + std::to_string(i), ""});
    return items;
  }
  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    if (endless) return {TaskRequest::rolling(std::to_string(outputs.size()))};
    const auto turn = [&](const std::string& prompt) {
      return TaskRequest::generate({.prompt = prompt, .temperature = temperature_});
    };
    if (outputs.empty()) {
      return {TaskRequest::log_likelihood(prefix_ + item.id, "a"),
              TaskRequest::log_likelihood(prefix_ + item.id, "bb"), turn(item.id)};
    }
    if (protocol == "paper" && outputs.size() == 3) return {turn(outputs[2].generation.text + "!")};
    if (protocol == "paper" && outputs.size() == 4) return {TaskRequest::rolling(item.id)};
    return {};
  }
  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    CHECK(outputs.size() == (protocol == "paper" ? 5u : 3u));
    const bool right = outputs[0].likelihood.value > outputs[1].likelihood.value;
    const double value = bad_item == item.id ? std::nan("") : right ? 1.0 : 0.0;
    return {item.id,
            item.category,
            outputs[outputs.size() == 5 ? 3 : 2].generation.text,
            "",
            {{"accuracy", value}}};
  }

  static inline int count = 70;
  static inline bool endless = false;
  static inline std::string bad_item, version = "1";

 private:
  std::string prefix_;
  double temperature_ = 0;
};

struct Registered {
  Registered() {
    tasks().add("dialogue", [] { return std::make_shared<Dialogue>(); });
  }
  ~Registered() {
    tasks().remove("dialogue");
    Dialogue::count = 70;
    Dialogue::endless = false;
    Dialogue::bad_item.clear();
    Dialogue::version = "1";
  }
};

// A record without what may differ between two runs.
std::string timeless(const std::string& text) {
  return std::regex_replace(text, std::regex("\"time\":\"[^\"]*\""), "\"time\":\"\"");
}

std::string comparable(const EvalResult& result) {
  auto json = nlohmann::ordered_json::parse(result.to_json());
  json.erase("run");
  for (auto& perplexity : json["perplexities"]) perplexity["seconds"] = 0;
  return json.dump(1);
}

}  // namespace

TEST_CASE("evaluate: requests go in rounds, and those of both protocols run once") {
  const TemporaryFolder folder;
  const Registered registered;
  FakeScorer scorer;
  const EvalResult result =
      evaluate(scorer, {"dialogue:file=" + folder.write("data", "x")}, {.seed = 3});
  CHECK(scorer.prepared == 140);
  CHECK(scorer.pairs.size() == 140);
  for (const auto& [pair, times] : scorer.pairs) CHECK(times == 1);
  CHECK(scorer.prompts.size() == 140);  // two turns of each item
  for (const auto& [prompt, times] : scorer.prompts) CHECK(times == 1);
  CHECK(result.metrics.at("dialogue").at("strict").at("accuracy") == 1);
  CHECK(result.metrics.at("dialogue").at("strict").at("items") == 70);
  const auto& items = result.items.at("dialogue");
  REQUIRE(items.at("paper").size() == 70);
  const std::string seed = std::to_string(item_seed(3, "dialogue", "item 7", 2)),
                    second = std::to_string(item_seed(3, "dialogue", "item 7", 3));
  CHECK(items.at("strict")[7].prediction == "item 7#" + seed);
  CHECK(items.at("paper")[7].prediction == "item 7#" + seed + "!#" + second);
  // Flags of what a protocol asked, and no others.
  CHECK(items.at("strict")[7].flags == std::vector<std::string>{"no_stop"});
  CHECK(items.at("paper")[7].flags == std::vector<std::string>{"no_stop", "truncated"});
  CHECK(result.metrics.at("dialogue").at("paper").at("flag_truncated") == 70);
  CHECK(result.settings.at("boundary") == "joint");
  CHECK(result.manifests.at("dialogue").protocols == std::vector<std::string>{"strict", "paper"});
}

TEST_CASE("evaluate: a part of the items repeats the whole run") {
  const TemporaryFolder folder;
  const Registered registered;
  const std::string file = folder.write("data", "x");
  FakeScorer scorer;
  const auto all = evaluate(scorer, {"dialogue:temperature=1,file=" + file});
  const auto some = evaluate(scorer, {"dialogue:temperature=1,file=" + file}, {.limit = 5});
  const auto& items = all.items.at("dialogue").at("paper");
  const auto& first = some.items.at("dialogue").at("paper");
  REQUIRE(first.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(first[i].prediction == items[i].prediction);
  CHECK(some.manifests.at("dialogue").limit == 5);
  const auto one = evaluate(scorer, {"dialogue:protocols=strict,file=" + file}, {.limit = 5});
  CHECK(one.items.at("dialogue").size() == 1);
  CHECK(one.items.at("dialogue").count("strict") == 1);
}

TEST_CASE("evaluate: a run that ends anywhere goes on to the same result and record") {
  const TemporaryFolder folder;
  const Registered registered;
  const std::vector<std::string> texts{"dialogue:file=" + folder.write("data", "x")};
  for (const int64_t cost : {0, 500}) {  // batches by items, and by tokens
    FakeScorer whole;
    whole.cost = cost;
    const std::string there = folder.file("whole" + std::to_string(cost));
    const std::string expected = comparable(evaluate(whole, texts, {.record = there}));
    const std::string record =
        timeless(folder.read("whole" + std::to_string(cost) + "/dialogue.jsonl"));
    REQUIRE(whole.calls > 8);
    const auto batches = read_journal(there + "/dialogue.jsonl").batches;
    CHECK(batches[0].size() == (cost == 0 ? 32 : 4));
    for (int64_t dies = 0; dies < whole.calls; ++dies) {
      INFO("call " << dies);
      const std::string name = "r" + std::to_string(cost) + "-" + std::to_string(dies);
      FakeScorer first, second;
      first.cost = second.cost = cost;
      first.dies_at_call = dies;
      CHECK_THROWS_WITH(evaluate(first, texts, {.record = folder.file(name)}), "the power went");
      const EvalResult result =
          evaluate(second, texts, {.record = folder.file(name), .resume = true});
      CHECK(comparable(result) == expected);
      CHECK(timeless(folder.read(name + "/dialogue.jsonl")) == record);
      CHECK(result.run.items_recorded + static_cast<int64_t>(second.pairs.size()) / 2 == 70);
      FakeScorer third;
      third.cost = cost;
      CHECK(comparable(evaluate(third, texts, {.record = folder.file(name), .resume = true})) ==
            expected);
      CHECK(third.calls == 0);
    }
  }
}

TEST_CASE("evaluate: a record is refused to another run, and says why") {
  const TemporaryFolder folder;
  const Registered registered;
  const std::string task = "dialogue:file=" + folder.write("data", "x");
  const std::string record = folder.file("record");
  FakeScorer scorer;
  evaluate(scorer, {task}, {.record = record});
  const auto refused = [&](const std::string& text, EvaluateOptions options,
                           const std::string& rule) {
    options.record = record;
    INFO(rule);
    CHECK_THROWS_AS(evaluate(scorer, {text}, options), std::invalid_argument);
    CHECK_THROWS_WITH(evaluate(scorer, {text}, options), Catch::Contains(rule));
  };
  refused(task, {}, "--resume");
  refused(task, {.resume = true, .seed = 1}, "another seed: 0 and 1");
  refused(task, {.limit = 5, .resume = true}, "items.count: 70 and 5");
  refused(task + ",prefix=A", {.resume = true}, "options.prefix: Q and A");
  refused(task + ",protocols=paper", {.resume = true}, "protocols");
  folder.write("data", "y");
  refused(task, {.resume = true}, "data.sha256");
  folder.write("data", "x");
  Dialogue::version = "2";
  refused(task, {.resume = true}, "task_version: 1 and 2");
  Dialogue::version = "1";
  scorer.settings["boundary"] = "split";
  refused(task, {.resume = true}, "scorer.boundary: joint and split");
  scorer.settings["boundary"] = "joint";
  scorer.fingerprint = "one weight changed";
  refused(task, {.resume = true}, "model.fingerprint: weights and one weight changed");
  scorer.fingerprint = "weights";
  CHECK_NOTHROW(evaluate(scorer, {task}, {.record = record, .resume = true}));
  CHECK_THROWS_WITH(evaluate(scorer, {task}, {.resume = true}), Catch::Contains("record folder"));
}

TEST_CASE("evaluate: tasks that break the rules are named") {
  const TemporaryFolder folder;
  const Registered registered;
  const std::string task = "dialogue:file=" + folder.write("data", "x");
  FakeScorer scorer;
  const auto refused = [&](const std::string& text, const std::string& rule) {
    CHECK_THROWS_WITH(evaluate(scorer, {text}), Catch::Contains(rule));
  };
  refused("dialogue", "dialogue needs its data");
  refused(task + ",color=red", "dialogue knows the options file, protocols, prefix, temperature");
  refused(task + ",protocols=strict+loose", "has the protocols strict, paper. Got 'loose'");
  refused("perplexity:file=x", "takes a model or a ModelScorer");
  Dialogue::bad_item = "item 40";
  CHECK_THROWS_AS(evaluate(scorer, {task}), NumericalError);
  refused(task, "Got accuracy = nan in dialogue, item 'item 40'");
  Dialogue::bad_item = "";
  scorer.values["bb"] = std::nan("");
  CHECK_THROWS_AS(evaluate(scorer, {task}), NumericalError);
  refused(task, "Got NaN in dialogue, item 'item 0'");
  scorer.values.clear();
  scorer.values["bb"] = -std::numeric_limits<double>::infinity();  // impossible, but a number
  CHECK_NOTHROW(evaluate(scorer, {task}));
  Dialogue::endless = true;
  refused(task, "still asks after 100 rounds for item 'item 0'");
  Dialogue::endless = false;
  Dialogue::count = 0;
  refused(task, "must load at least one item");
}

TEST_CASE("evaluate: multiple choice of a real model, with its perplexity, survives JSON") {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 9; ++i) {
    lines += R"({"context": "the cat", "choices": ["sat", "ate", "the bat"], "answer": )" +
             std::to_string(i % 3) + R"(, "category": ")" + (i < 4 ? "x" : "y") + "\"}\n";
  }
  const auto model = test::tiny_model();
  const EvalResult result =
      evaluate(*model, letters(),
               {"multiple_choice:file=" + folder.write("q.jsonl", lines), "perplexity:length=8"},
               {.text = folder.write("t.txt", "the cat sat on the mat and the dog ate the bat")});
  CHECK(result.metrics.at("multiple_choice").at("strict").at("accuracy") == Approx(1.0 / 3));
  CHECK(result.metrics.at("multiple_choice").at("strict").at("items/x") == 4);
  CHECK(result.perplexities.at("perplexity").length == 8);
  const EvalResult back = EvalResult::from_json(result.to_json(), "scores.json");
  CHECK(back.to_json() == result.to_json());
  CHECK(back.items.at("multiple_choice").at("strict")[5].category == "y");
  CHECK(back.manifests.at("multiple_choice").to_json() ==
        result.manifests.at("multiple_choice").to_json());
  CHECK_THAT(result.to_markdown(), Catch::Contains("| multiple_choice | strict | accuracy |") &&
                                       !Catch::Contains("accuracy/x"));
}

TEST_CASE("evaluate: progress counts items and can stop the run, which then goes on") {
  const TemporaryFolder folder;
  const Registered registered;
  const std::vector<std::string> texts{"dialogue:file=" + folder.write("data", "x")};
  FakeScorer scorer;
  std::vector<int64_t> done;
  EvaluateOptions options{.record = folder.file("r"), .progress = [&](const Progress& progress) {
                            CHECK(progress.total == 70);
                            CHECK(progress.name == "dialogue");
                            done.push_back(progress.done);
                            return progress.done < 32;
                          }};
  CHECK_THROWS_AS(evaluate(scorer, texts, options), Cancelled);
  CHECK(done.front() == 0);
  CHECK(done.back() == 32);
  options.resume = true;
  options.progress = {};
  const auto result = evaluate(scorer, texts, options);
  CHECK(result.run.items_recorded == 32);
  for (const auto& [pair, times] : scorer.pairs) CHECK(times == 1);
}
