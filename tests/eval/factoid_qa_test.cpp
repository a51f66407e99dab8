// factoid_qa on files that the tests write, with a scorer that counts characters.
#include "support/catch.h"
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "cupel/eval/evaluate.h"
#include "support/fake_scorer.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::FakeScorer;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

using Options = std::map<std::string, std::string>;
using Texts = std::vector<std::string>;

TaskOptions options_of(const Task& task, Options changed = {}) {
  for (const auto& option : task.info().options) changed.emplace(option.name, option.value);
  return TaskOptions(task.info().name, changed);
}

TaskOutput text(const std::string& text) { return {.generation = {text, 1, "end", {}}}; }

// One token a character.
TextMeasure letters_of(int64_t limit) {
  return {.limit = limit,
          .count = [](const std::string& text) { return static_cast<int64_t>(text.size()); }};
}

std::string freebase(const std::string& questions) {
  return "{\"Dataset\": \"X\", \"Version\": \"1\", \"Questions\": [" + questions + "]}";
}

std::string factoid(const std::string& id, const std::string& question, const std::string& parses) {
  return "{\"Question-ID\": \"" + id + "\", \"RawQuestion\": \"" + question + "\", \"Parses\": [" +
         parses + "]}";
}

std::string parse(const std::string& names) {
  return "{\"Answers\": [{\"AnswersName\": [" + names + "]}]}";
}

// The only request of an item.
GenerationRequest asked(const Task& task, const TaskItem& item, const std::string& protocol) {
  const auto requests = task.requests(item, protocol, {});
  REQUIRE(requests.size() == 1);
  CHECK(task.requests(item, protocol, {text("x")}).empty());
  return requests[0].generation;
}

bool has_flag(const ItemScore& score, const std::string& flag) {
  return std::find(score.flags.begin(), score.flags.end(), flag) != score.flags.end();
}

}  // namespace

TEST_CASE("factoid_qa: prompts and room by protocol") {
  const TemporaryFolder folder;
  const std::string file =
      folder.write("f.json", freebase(factoid("a", "Who?", parse(R"("bond", "007")"))));
  const std::string plain = "Please give answer to this question: Who?\nThe answer is ";
  {
    const auto task = factoid_qa();
    const auto items = task->load(file, options_of(*task));
    REQUIRE(items.size() == 1);
    CHECK(items[0].id == "a");
    const auto paper = asked(*task, items[0], "paper"), strict = asked(*task, items[0], "strict");
    CHECK(paper.prompt == plain);
    CHECK(paper.max_new_tokens == 32);  // nobody counts tokens
    CHECK(paper.stop.empty());
    CHECK(strict.prompt == plain);
    CHECK(strict.stop == Texts{"\n"});
    CHECK(has_flag(task->score(items[0], "paper", {text("")}), "budget_unknown"));
    CHECK_FALSE(has_flag(task->score(items[0], "strict", {text("")}), "budget_unknown"));
  }
  const auto length = static_cast<int64_t>(plain.size());
  for (const int64_t limit : {3 * length, 3 * length - 1, length + 1, length}) {
    INFO("limit " << limit);
    const auto task = factoid_qa();
    task->set_measure(letters_of(limit));
    const auto items =
        task->load(file, options_of(*task, {{"prompt", "space"}, {"max_new_tokens", "7"}}));
    const auto score = task->score(items[0], "paper", {text("Bond")});
    CHECK_FALSE(has_flag(score, "budget_unknown"));
    CHECK(has_flag(score, "budget_cut") == (limit < 3 * length && limit > length));
    CHECK(has_flag(score, "question_too_long") == (limit == length));
    CHECK(score.values.at("kick_substring") == (limit == length ? 0 : 1));
    if (limit == length) {
      CHECK(task->requests(items[0], "paper", {}).empty());
      CHECK(task->requests(items[0], "strict", {}).empty());
      continue;
    }
    const auto paper = asked(*task, items[0], "paper"), strict = asked(*task, items[0], "strict");
    CHECK(paper.prompt == "Please give answer to this question: Who? The answer is ");
    CHECK(paper.max_new_tokens == std::min(2 * length, limit - length));
    CHECK(strict.max_new_tokens == std::min<int64_t>(7, limit - length));
  }
}

TEST_CASE("factoid_qa: each rule beside the others") {
  const TemporaryFolder folder;
  const auto task = factoid_qa();
  const auto load = [&](const std::string& gold, const std::string& questions) {
    return task->load(folder.write("f.json", freebase(questions)),
                      options_of(*task, {{"gold", gold}}));
  };
  const std::string two = factoid("a", "Who?", parse(R"("iran")") + "," + parse(R"("persia")"));
  const auto items = load("protocol", two);
  using Values = std::map<std::string, double>;
  const auto paper = [&](const std::string& written) {
    return task->score(items[0], "paper", {text(written)});
  };
  const auto strict = [&](const std::string& written) {
    return task->score(items[0], "strict", {text(written)});
  };
  CHECK(paper("Iran").values == Values{{"kick_substring", 1}, {"substring", 1}});
  CHECK(paper("I think\n\nof Ti rana").values == Values{{"kick_substring", 1}, {"substring", 1}});
  CHECK(paper("Persia").values == Values{{"kick_substring", 0}, {"substring", 0}});
  CHECK(strict("The Iran.").values == Values{{"accuracy", 1}, {"contains", 1}, {"substring", 1}});
  CHECK(strict("Persia").values == Values{{"accuracy", 1}, {"contains", 1}, {"substring", 1}});
  CHECK(strict("It is Iran").values == Values{{"accuracy", 0}, {"contains", 1}, {"substring", 1}});
  CHECK(strict("Tirana").values == Values{{"accuracy", 0}, {"contains", 0}, {"substring", 1}});
  CHECK(strict("no\nIran").values == Values{{"accuracy", 0}, {"contains", 0}, {"substring", 0}});
  CHECK(strict("no\nIran").prediction == "no");
  CHECK(strict("").values == Values{{"accuracy", 0}, {"contains", 0}, {"substring", 0}});
  CHECK(load("first", two)[0].list("union") == Texts{"iran", "persia"});
  CHECK(task->score(load("first", two)[0], "strict", {text("persia")}).values.at("accuracy") == 0);
  CHECK(task->score(load("union", two)[0], "paper", {text("persia")}).values.at("substring") == 1);
}

TEST_CASE("factoid_qa: leaks and gold answers that cannot be right are flagged") {
  const TemporaryFolder folder;
  const auto task = factoid_qa();
  const auto items = task->load(
      folder.write("f.json", freebase(factoid("leak", "Who won in 1966?", parse(R"("1")")) + "," +
                                      factoid("wording", "Who?", parse(R"("question")")) + "," +
                                      factoid("empty", "Who?", parse(R"("", "x")")) + "," +
                                      factoid("the", "Who?", parse(R"("The The")")) + "," +
                                      factoid("none", "Who?", "") + "," +
                                      factoid("names", "Who?", parse("")))),
      options_of(*task));
  const auto score = [&](int i, const std::string& protocol) {
    return task->score(items.at(i), protocol, {text("no")});
  };
  for (const int i : {0, 1}) {
    CHECK(has_flag(score(i, "paper"), "prompt_leak"));
    CHECK(score(i, "paper").values.at("kick_substring") == 1);
    CHECK(score(i, "paper").values.at("substring") == 0);
    CHECK_FALSE(has_flag(score(i, "strict"), "prompt_leak"));
  }
  CHECK(has_flag(score(2, "paper"), "empty_gold"));
  CHECK_FALSE(has_flag(score(2, "paper"), "prompt_leak"));
  CHECK(score(2, "paper").values.at("kick_substring") == 1);
  CHECK(score(2, "paper").values.at("substring") == 0);
  CHECK(has_flag(score(3, "strict"), "empty_gold"));
  CHECK_FALSE(has_flag(score(3, "paper"), "empty_gold"));
  for (const int i : {4, 5}) {
    CHECK(has_flag(score(i, "paper"), "no_gold"));
    CHECK(has_flag(score(i, "strict"), "no_gold"));
    CHECK(score(i, "paper").values.at("kick_substring") == 0);
  }
}

TEST_CASE("factoid_qa: a folder holds splits, and bad files are refused by record") {
  const TemporaryFolder folder;
  const auto task = factoid_qa();
  const auto refused = [&](const std::string& bytes, const std::string& rule,
                           const std::string& where = "") {
    INFO(bytes);
    const std::string file = folder.write("f.json", bytes);
    require_format_error([&] { task->load(file, options_of(*task)); }, file, rule);
    require_format_error([&] { task->load(file, options_of(*task)); }, where, rule);
  };
  const std::string good = factoid("a", "Who?", parse(R"("x")"));
  refused("", "the file is empty");
  refused("{", "not valid JSON", "byte 1");
  refused("[]", "must hold a JSON object");
  refused("\xEF\xBB\xBF" + freebase(good), "byte order mark", "byte 0");
  refused("{\"Questions\": [\"\xFF\"]}", "not valid UTF-8", "byte 16");
  refused("{}", "there is no field \"Questions\"");
  refused(freebase(""), "there is no question in the file");
  refused(freebase("3"), "must be an object. Got 3", "Questions[0]");
  refused(freebase(good + "," + good), "\"a\" stands before", "Questions[1]");
  refused(freebase(good + R"(,{"Question-ID": "b"})"), "there is no field \"RawQuestion\"",
          "Questions[1]");
  refused(freebase(factoid("a", "  ", parse("\"x\""))), "more than white space",
          "Questions[0].RawQuestion");
  refused(freebase(factoid("a", "Who?", "7")), "must be an object. Got 7",
          "Questions[0].Parses[0]");
  refused(freebase(factoid("a", "Who?", parse("\"x\", 7"))), "must be a string. Got 7",
          "Questions[0].Parses[0].Answers[0].AnswersName[1]");
  // Line ends of another system, and line ends within a question.
  CHECK(task->load(folder.write("f.json", "{\r\n\"Questions\":\r\n[" + factoid("a", "Who\\n?", "") +
                                              "]}\r\n"),
                   options_of(*task))[0]
            .text("question") == "Who\n?");

  folder.write("FreebaseQA-dev.json", freebase(factoid("d", "Who?", "")));
  CHECK(task->load(folder.path(), options_of(*task, {{"split", "dev"}}))[0].id == "d");
  require_format_error([&] { task->load(folder.path(), options_of(*task)); },
                       "FreebaseQA-eval.json", "");
  const std::string file = folder.file("FreebaseQA-dev.json");
  for (const auto& [name, value] :
       Options{{"split", "dev"}, {"prompt", "tab"}, {"gold", "best"}, {"max_new_tokens", "0"}}) {
    INFO(name);
    CHECK_THROWS_AS(task->load(file, options_of(*task, {{name, value}})), std::invalid_argument);
  }
}

TEST_CASE("factoid_qa: metrics count what was scored") {
  const TemporaryFolder folder;
  FakeScorer scorer;  // writes the prompt again
  const EvalResult result = evaluate(
      scorer, {"factoid_qa:file=" +
               folder.write("f.json", freebase(factoid("a", "Is it x?", parse(R"("x")")) + "," +
                                               factoid("b", "Who?", parse(R"("zz")")) + "," +
                                               factoid("c", "Who?", "")))});
  const auto& paper = result.metrics.at("factoid_qa").at("paper");
  CHECK(paper.at("items") == 3);
  CHECK(paper.at("kick_substring") == Approx(1.0 / 3));
  CHECK(paper.at("flag_prompt_leak") == 1);
  CHECK(paper.at("flag_no_gold") == 1);
  CHECK(paper.at("flag_budget_unknown") == 3);
  CHECK(result.metrics.at("factoid_qa").at("strict").at("accuracy") == 0);
}
