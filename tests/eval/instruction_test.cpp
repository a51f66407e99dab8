#include "support/catch.h"

#include "cupel/core/error.h"
#include "cupel/eval/task.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::TemporaryFolder;

namespace {

const char* kQuestions =
    R"({"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]})"
    "\n"
    R"({"question_id": 82, "category": "math", "turns": ["What is 1 + 1?", "Why?"], "reference": )"
    R"(["2", "So it is."], "checks": [{"kind": "equals", "value": "2", "turn": 1}, )"
    R"({"kind": "words_at_most", "value": 3}]})"
    "\n"
    R"({"question_id": 1, "category": "stem", "text": "One turn of Vicuna's file."})"
    "\n";

struct Loaded {
  explicit Loaded(const std::string& path, std::map<std::string, std::string> given = {},
                  const TextMeasure& measure = {}) {
    task = tasks().get("instruction")();
    std::map<std::string, std::string> values;
    for (const auto& option : task->info().options) values[option.name] = option.value;
    values["template"] = "chatml";
    for (const auto& [name, value] : given) values[name] = value;
    task->set_measure(measure);
    items = task->load(path, TaskOptions("instruction", values));
  }
  std::vector<TaskRequest> ask(std::size_t item, const std::vector<TaskOutput>& outputs = {},
                               const std::string& protocol = "strict") const {
    return task->requests(items.at(item), protocol, outputs);
  }
  std::shared_ptr<Task> task;
  std::vector<TaskItem> items;
};

TaskOutput answer(const std::string& text) {
  TaskOutput output;
  output.generation = {text, 4, "end", {}};
  return output;
}

}  // namespace

TEST_CASE("instruction: a second turn sees the first answer") {
  const TemporaryFolder folder;
  const Loaded data(folder.write("q.jsonl", kQuestions));
  REQUIRE(data.items.size() == 3);
  CHECK(data.items[0].id == "81");
  const auto first = data.ask(0);
  REQUIRE(first.size() == 1);
  CHECK(first[0].generation.prompt ==
        "<|im_start|>user\nWrite.<|im_end|>\n<|im_start|>assistant\n");
  CHECK(first[0].generation.stop == std::vector<std::string>{"<|im_end|>"});
  const auto second = data.ask(0, {answer(" A text. ")});
  REQUIRE(second.size() == 1);
  CHECK(second[0].generation.prompt ==
        "<|im_start|>user\nWrite.<|im_end|>\n<|im_start|>assistant\nA text.<|im_end|>\n"
        "<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n");
  CHECK(data.ask(0, {answer("a"), answer("b")}).empty());
  CHECK(data.ask(2, {answer("a")}).empty());
  CHECK(data.items[2].list("turns") == std::vector<std::string>{"One turn of Vicuna's file."});
}

TEST_CASE("instruction: temperatures by category, or one for all") {
  const TemporaryFolder folder;
  const std::string file = folder.write("q.jsonl", kQuestions);
  const Loaded data(file);
  const auto temperature = [](const Loaded& loaded, std::size_t item, const char* protocol) {
    return loaded.ask(item, {}, protocol).at(0).generation.temperature;
  };
  CHECK(temperature(data, 0, "strict") == 0.7);
  CHECK(temperature(data, 1, "strict") == 0);
  CHECK(temperature(data, 2, "strict") == 0.1);
  for (std::size_t i = 0; i < 3; ++i) CHECK(temperature(data, i, "paper") == 0.7);
  const Loaded greedy(file, {{"temperature", "0"}});
  for (const char* protocol : {"strict", "paper"}) CHECK(temperature(greedy, 0, protocol) == 0);
}

TEST_CASE("instruction: options for turns and the system message") {
  const TemporaryFolder folder;
  const Loaded data(folder.write("q.jsonl", kQuestions), {{"turns", "1"}, {"system", "Be short."}});
  CHECK(data.ask(0, {answer("a")}).empty());
  CHECK(data.ask(0).at(0).generation.prompt.rfind("<|im_start|>system\nBe short.", 0) == 0);
  // The check of the second turn is left out with it.
  CHECK(data.items[1].list("checks").size() == 1);
  CHECK(data.task->score(data.items[1], "strict", {answer("2")}).values.at("follows") == 1);
}

TEST_CASE("instruction: figures are means over turns, checks are all or a share") {
  const TemporaryFolder folder;
  const Loaded data(folder.write("q.jsonl", kQuestions));
  const ItemScore score = data.task->score(data.items[1], "strict",
                                           {answer(" 2\n"), answer("since one and one is two")});
  CHECK(score.prediction == "2\n\nsince one and one is two");
  CHECK(score.gold == "2\n\nSo it is.");
  CHECK(score.values.at("words") == 3.5);
  CHECK(score.values.at("unique_tokens") == 3);
  CHECK(score.values.at("tokens") == 4);
  CHECK(score.values.at("distinct_2") == 1);  // an answer of one word repeats nothing
  CHECK(score.values.at("repeated_4") == 0);
  CHECK(score.values.at("follows") == 0);
  CHECK(score.values.at("checks_followed") == 0.5);
  CHECK(score.flags.empty());
  const ItemScore good =
      data.task->score(data.items[1], "strict", {answer("2"), answer("It just is.")});
  CHECK(good.values.at("follows") == 1);
  const ItemScore none = data.task->score(data.items[0], "strict", {answer(""), answer("b")});
  CHECK(none.flags == std::vector<std::string>{"empty"});
  CHECK(none.values.count("follows") == 0);
}

TEST_CASE("instruction: an overlong conversation loses the end of the earlier answer") {
  const TemporaryFolder folder;
  const TextMeasure characters{
      100, [](const std::string& text) { return static_cast<int64_t>(text.size()); }};
  const Loaded data(folder.write("q.jsonl", R"({"turns": ["First?", "Second?"]})"),
                    {{"template", "vicuna_v1.1"}, {"system", "S"}, {"max_new_tokens", "40"}},
                    characters);
  const std::vector<TaskOutput> outputs{answer(std::string(80, 'x'))};
  const auto strict = data.ask(0, outputs);
  REQUIRE(strict.size() == 1);
  const std::string before = "S USER: First? ASSISTANT: ", behind = "</s>USER: Second? ASSISTANT:";
  CHECK(strict[0].generation.prompt ==
        before + std::string(60 - before.size() - behind.size(), 'x') + behind);
  CHECK(strict[0].generation.max_new_tokens == 40);
  const ItemScore score = data.task->score(data.items[0], "strict", {outputs[0], answer("y")});
  CHECK(score.flags == std::vector<std::string>{"special_text", "cut"});
  CHECK(data.ask(0, outputs, "paper").empty());
  const ItemScore paper = data.task->score(data.items[0], "paper", outputs);
  CHECK(paper.flags == std::vector<std::string>{"special_text", "overflow", "empty"});
  CHECK(paper.values.at("words") == 0.5);
}

TEST_CASE("instruction: bad files are named") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& line, const std::string& rule) {
    const std::string file = folder.write("q.jsonl", line + "\n");
    INFO(line);
    CHECK_THROWS_AS(Loaded(file), FormatError);
    CHECK_THROWS_WITH(Loaded(file), Catch::Contains(rule) && Catch::Contains("line 1"));
  };
  refused(R"({"question": "x"})", "there is no field \"text\"");
  refused(R"({"turns": []})", "\"turns\" holds at least one");
  refused(R"({"turns": ["a", " "]})", "a turn is more than white space");
  refused(R"({"turns": "a"})", "must be a list of strings");
  refused(R"({"turns": ["a"], "checks": []})", "\"checks\" is a list of at least one");
  refused(R"({"turns": ["a"], "checks": [{"kind": "longer"}]})", "has one of the kinds");
  refused(R"({"turns": ["a"], "checks": [{"kind": "upper", "turn": 2}]})",
          "names one of the 1 turns. Got 2");
  refused(R"({"turns": ["a"], "reference": 3})", "\"reference\" must be a list of strings");
  const std::string twice = folder.write(
      "q.jsonl", "{\"question_id\": 1, \"text\": \"a\"}\n{\"question_id\": 1, \"text\": \"b\"}\n");
  CHECK_THROWS_WITH(Loaded(twice), Catch::Contains("the id \"1\" stands in line 1 already"));
}
