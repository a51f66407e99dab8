#include "cupel/eval/task.h"

#include "support/catch.h"
#include <cmath>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/eval/evaluate.h"
#include "support/fake_scorer.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::FakeScorer;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

TaskOptions options_of(const Task& task, std::map<std::string, std::string> changed = {}) {
  for (const auto& option : task.info().options) changed.emplace(option.name, option.value);
  return TaskOptions(task.info().name, changed);
}

TaskOutput likelihood(double value) { return {.likelihood = {value, true, 1}}; }

TaskOutput text(const std::string& text) { return {.generation = {text, 1, "end", {}}}; }

}  // namespace

TEST_CASE("multiple_choice: the likeliest choice wins, per text, character and byte") {
  const TemporaryFolder folder;
  const auto task = multiple_choice();
  // 2, 4 and 1 characters; 2, 8 and 1 bytes.
  const auto items = task->load(
      folder.write("q.jsonl", R"({"context": "Q", "choices": ["aa", "éééé", "b"], "answer": 1})"),
      options_of(*task));
  REQUIRE(items.size() == 1);
  CHECK(items[0].id == "0");
  const auto requests = task->requests(items[0], "strict", {});
  REQUIRE(requests.size() == 3);
  CHECK(requests[1].context == "Q");
  CHECK(requests[1].continuation == " éééé");
  const std::vector<TaskOutput> outputs{likelihood(-1.8), likelihood(-2), likelihood(-0.9)};
  CHECK(task->requests(items[0], "strict", outputs).empty());
  const ItemScore score = task->score(items[0], "strict", outputs);
  CHECK(score.prediction == "b");
  CHECK(score.gold == "éééé");
  CHECK(score.values ==
        std::map<std::string, double>{{"accuracy", 0}, {"acc_norm", 1}, {"acc_bytes", 1}});
  const auto other =
      task->score(items[0], "strict", {likelihood(-0.4), likelihood(-1.2), likelihood(-0.9)});
  CHECK(other.prediction == "aa");
  CHECK(other.values.at("acc_norm") == 0);   // -0.2, -0.3, -0.9
  CHECK(other.values.at("acc_bytes") == 1);  // -0.2, -0.15, -0.9
  // Equal likelihoods: the first.
  CHECK(task->score(items[0], "strict", {likelihood(-1), likelihood(-1), likelihood(-1)})
            .prediction == "aa");
}

TEST_CASE("multiple_choice: the delimiter goes before choices that bring no white space") {
  const TemporaryFolder folder;
  const auto task = multiple_choice();
  const std::string file =
      folder.write("q.jsonl", R"({"context": "Q", "choices": ["a", " b", "\nc"], "answer": 0})");
  const auto continuations = [&](const std::string& delimiter) {
    const auto items = task->load(file, options_of(*task, {{"delimiter", delimiter}}));
    return items[0].list("continuations");
  };
  CHECK(continuations(" ") == std::vector<std::string>{" a", " b", "\nc"});
  CHECK(continuations("") == std::vector<std::string>{"a", " b", "\nc"});
  CHECK(continuations("::") == std::vector<std::string>{"::a", " b", "\nc"});
}

TEST_CASE("multiple_choice: bad files are refused by file and line") {
  const TemporaryFolder folder;
  const auto task = multiple_choice();
  const std::string good = R"({"context": "Q", "choices": ["a", "b"], "answer": 0, "id": "x"})";
  const auto refused = [&](const std::string& line, const std::string& rule) {
    INFO(line);
    const std::string file = folder.write("q.jsonl", good + "\n\n" + line + "\n");
    require_format_error([&] { task->load(file, options_of(*task)); }, file, rule);
    require_format_error([&] { task->load(file, options_of(*task)); }, "line 3", rule);
  };
  refused(R"({"choices": ["a", "b"], "answer": 0})", R"(there is no field "context")");
  refused(R"({"context": "Q", "answer": 0})", R"(there is no field "choices")");
  refused(R"({"context": "Q", "choices": ["a", "b"]})", R"(there is no field "answer")");
  refused(R"({"context": 3, "choices": ["a", "b"], "answer": 0})", "must be a string. Got 3");
  refused(R"({"context": "Q", "choices": ["a", 2], "answer": 0})", "must be a list of strings");
  refused(R"({"context": "Q", "choices": ["a"], "answer": 0})", "at least 2 choices. Got 1");
  refused(R"({"context": "Q", "choices": ["a", ""], "answer": 0})", "a choice is not empty");
  refused(R"({"context": "Q", "choices": ["a", "b"], "answer": 2})", "from 0 to 1. Got 2");
  refused(R"({"context": "Q", "choices": ["a", "b"], "answer": -1})", "from 0 to 1. Got -1");
  refused(R"({"context": "Q", "choices": ["a", "b"], "answer": 0.5})", "must be a whole number");
  refused(R"({"context": "Q", "choices": ["a", "b"], "answer": "a"})", "must be a whole number");
  refused(R"({"context": "Q", "choices": ["a", "b"], "answer": 0, "id": "x"})",
          R"(the id "x" stands in line 1 already)");
  refused(R"({"context": "Q", "choices")", "not valid JSON");
  refused(R"([1])", "must hold a JSON object");
  const std::string empty = folder.write("empty.jsonl", "\n\n");
  require_format_error([&] { task->load(empty, options_of(*task)); }, empty, "there is no item");
}

TEST_CASE("generation: exact and substring, white space aside") {
  const TemporaryFolder folder;
  const auto task = generation();
  const std::string file =
      folder.write("g.jsonl", R"({"prompt": "P", "answers": ["Paris", "the city"]})"
                              "\n"
                              R"({"prompt": "R", "id": 7, "category": "free"})");
  const auto items = task->load(
      file, options_of(*task, {{"max_new_tokens", "5"}, {"stop", "\\n"}, {"temperature", "0.5"}}));
  REQUIRE(items.size() == 2);
  CHECK(items[1].id == "7");
  CHECK(items[1].category == "free");
  const auto requests = task->requests(items[0], "strict", {});
  REQUIRE(requests.size() == 1);
  CHECK(requests[0].generation.prompt == "P");
  CHECK(requests[0].generation.max_new_tokens == 5);
  CHECK(requests[0].generation.stop == std::vector<std::string>{"\n"});
  CHECK(requests[0].generation.temperature == 0.5);
  const auto values = [&](const std::string& answer) {
    const auto score = task->score(items[0], "strict", {text(answer)});
    return std::pair(score.values.at("exact"), score.values.at("substring"));
  };
  CHECK(values(" Paris\n") == std::pair(1.0, 1.0));
  CHECK(values("the city") == std::pair(1.0, 1.0));
  CHECK(values("It is Paris.") == std::pair(0.0, 1.0));
  CHECK(values("paris") == std::pair(0.0, 0.0));
  CHECK(values("") == std::pair(0.0, 0.0));
  CHECK(task->score(items[1], "strict", {text("anything")}).values.empty());
  for (const auto& [option, value] :
       std::vector<std::pair<std::string, std::string>>{{"max_new_tokens", "0"},
                                                        {"max_new_tokens", "many"},
                                                        {"temperature", "-1"},
                                                        {"temperature", "hot"},
                                                        {"temperature", "nan"}}) {
    INFO(option << "=" << value);
    CHECK_THROWS_WITH(task->load(file, options_of(*task, {{option, value}})),
                      Catch::Contains("generation:" + option));
  }
}

TEST_CASE("mean_metrics: means, counts, flags and categories") {
  const std::vector<ItemScore> scores{
      {"1", "x", "", "", {{"accuracy", 1}, {"extra", 3}}, {"empty"}},
      {"2", "x", "", "", {{"accuracy", 0}}},
      {"3", "y", "", "", {{"accuracy", 1}}, {"empty", "odd"}},
      {"4", "", "", "", {{"accuracy", 1}}}};
  CHECK(mean_metrics(scores) == std::map<std::string, double>{{"items", 4},
                                                              {"accuracy", 0.75},
                                                              {"extra", 3},
                                                              {"items_with_extra", 1},
                                                              {"flag_empty", 2},
                                                              {"flag_odd", 1},
                                                              {"items/x", 2},
                                                              {"items/y", 1},
                                                              {"accuracy/x", 0.5},
                                                              {"accuracy/y", 1},
                                                              {"extra/x", 3}});
  CHECK(mean_metrics({}) == std::map<std::string, double>{{"items", 0}});
}

TEST_CASE("item_seed: the first 8 bytes of SHA-256, different for all that goes in") {
  // printf '7|quiz|item 1|0' | sha256sum
  const std::string digest = sha256("7|quiz|item 1|0");
  CHECK(item_seed(7, "quiz", "item 1", 0) == std::stoull(digest.substr(0, 16), nullptr, 16));
  CHECK(item_seed(8, "quiz", "item 1", 0) != item_seed(7, "quiz", "item 1", 0));
  CHECK(item_seed(7, "quiz", "item 1", 1) != item_seed(7, "quiz", "item 1", 0));
}

TEST_CASE("tasks: the built-in ones are there, and one's own can be added") {
  const auto names = tasks().names();
  for (const char* name : {"generation", "multiple_choice"}) {
    CHECK(std::find(names.begin(), names.end(), name) != names.end());
    CHECK(tasks().get(name)()->info().name == name);
  }
  CHECK_THROWS_WITH(tasks().get("quiz"), Catch::Contains("unknown task 'quiz'"));
}

TEST_CASE("TaskItem: fields are read by name, and mistakes named") {
  const TaskItem item{"i", "", {{"one", {"a"}}, {"two", {"a", "b"}}}};
  CHECK(item.text("one") == "a");
  CHECK(item.list("two").size() == 2);
  CHECK_THROWS_WITH(item.text("two"), Catch::Contains("Got 2 in 'two' of item 'i'"));
  CHECK_THROWS_WITH(item.list("three"), Catch::Contains("has the fields one, two. Got 'three'"));
}
