// Judges and their pass in C++: requests, templates, journals, scores.
#include "cupel/eval/judge.h"

#include "support/catch.h"
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "cupel/eval/compare.h"
#include "cupel/eval/judge_parser.h"
#include "support/fake_scorer.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::FakeScorer;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

// Four recorded answers of the task "generation".
struct Recorded {
  TemporaryFolder folder;
  std::string data, records;

  explicit Recorded(const std::string& weights = "weights") {
    std::string lines;
    for (int i = 0; i < 4; ++i) {
      lines += nlohmann::json{{"id", "q" + std::to_string(i)}, {"prompt", "say"}}.dump() + "\n";
    }
    data = folder.write("generation.jsonl", lines);
    records = folder.file("records");
    FakeScorer scorer;
    scorer.fingerprint = weights;
    evaluate(scorer, {"generation:temperature=1"}, {.data = folder.path(), .record = records});
  }

  JudgeOptions options() const { return {.data = {folder.path()}}; }
};

JudgeReply text(const std::string& text) { return {.text = text}; }

}  // namespace

TEST_CASE("judge: a request's id is that of what decides its reply") {
  JudgeRequest request{.item_id = "a", .task = "t"};
  request.prompt = "p";
  const std::string id = request.id();
  CHECK(id.size() == 64);
  request.item_id = "b";
  request.turn = 2;
  CHECK(request.id() == id);
  for (const auto& change : std::vector<std::function<void(JudgeRequest&)>>{
           [](auto& r) { r.prompt = "q"; }, [](auto& r) { r.system = "s"; },
           [](auto& r) { r.seed = 1; }, [](auto& r) { r.temperature = 0.5; },
           [](auto& r) { r.max_tokens = 1; }}) {
    JudgeRequest other = request;
    change(other);
    CHECK(other.id() != id);
  }
}

TEST_CASE("judge: places are filled once, braces are doubled, and nothing else is taken") {
  const std::map<std::string, std::string> values{{"a", "{b}{{"}, {"b", "B"}};
  CHECK(fill_template("{a}-{b}-{{a}}", values) == "{b}{{-B-{a}");
  CHECK_THROWS_AS(fill_template("{c}", values), std::invalid_argument);
  CHECK_THROWS_AS(fill_template("{", values), std::invalid_argument);
  CHECK_THROWS_AS(fill_template("}", values), std::invalid_argument);
  CHECK_THROWS_AS(fill_template("{a", values), std::invalid_argument);
}

TEST_CASE("judge: templates are refused by file and line") {
  const TemporaryFolder folder;
  const std::string good =
      R"({"name": "x", "type": "single", "system_prompt": "", "prompt_template": "{question}"})";
  const auto refuse = [&](const std::string& lines, const std::string& where) {
    const std::string file = folder.write("t.jsonl", lines);
    require_format_error([&] { load_judge_templates(file); }, file, where);
  };
  refuse(good + "\n{\"name\": 1}\n", "line 2");
  refuse(good + "\n" + good + "\n", "line 2");
  refuse("{\n", "line 1");
  refuse("", "");
  const std::string one = folder.write("t.jsonl", good);
  CHECK(load_judge_templates(one).templates.size() == 1);
  require_format_error([&] { load_judge_templates(folder.path()); }, folder.path(), "");
}

TEST_CASE("judge: own templates have a parser each, and show turns and references as they say") {
  const JudgeTemplates own = own_judge_templates();
  for (const auto& entry : own.templates) {
    CHECK_NOTHROW(judge_parsers().get(entry.parser));
    CHECK(entry.shows_turn(1));
    CHECK(entry.shows_turn(3));
  }
  bool fallback = true;
  CHECK(own.choose("single", "math", 2, true, &fallback).name == "single-reference");
  CHECK_FALSE(fallback);
  CHECK(own.choose("axes", "", 1, true, &fallback).name == "axes");
  CHECK(fallback);
  CHECK_THROWS_AS(own.choose("none", "", 1, false), std::invalid_argument);
}

TEST_CASE("judge: a function grades what evaluate() recorded, and results compare") {
  const Recorded dense("dense"), small("small");
  CallableJudge five([](const JudgeRequest&) { return text("[[5]]"); });
  CallableJudge four([](const JudgeRequest& request) {
    CHECK(request.question == "say");
    CHECK(request.answers.size() == 1);
    return text(request.item_id == "q3" ? "none" : "[[4]]");
  });
  const JudgeResult a = judge(dense.records, five, dense.options());
  const JudgeResult b = judge(small.records, four, small.options());
  REQUIRE(a.complete());
  CHECK(b.unparsed == 1);
  CHECK(b.scores.metrics.at("generation").at("single").at("score_low") == 13.0 / 4);
  CHECK(b.scores.metrics.at("generation").at("single").at("score_high") == 22.0 / 4);
  const Comparison comparison = compare(a.scores, b.scores);
  REQUIRE(comparison.tasks.size() == 1);
  CHECK(comparison.tasks[0].items == 3);
  CHECK(comparison.tasks[0].difference == -1);
  CHECK(comparison.notes.size() == 1);
}

TEST_CASE("judge: what was answered before a failure is not asked again") {
  const Recorded run;
  const TemporaryFolder out;
  std::map<std::string, int> asked;
  int64_t left = 2;
  CallableJudge dying([&](const JudgeRequest& request) {
    if (left-- == 0) throw std::runtime_error("the power went");
    ++asked[request.id()];
    return text("[[7]]");
  });
  JudgeOptions options = run.options();
  options.out = out.file("judged");
  CHECK_THROWS_AS(judge(run.records, dying, options), std::runtime_error);
  left = 100;
  const JudgeResult result = judge(run.records, dying, options);
  CHECK(result.asked == 2);
  CHECK(result.complete());
  CHECK(asked.size() == 4);
  for (const auto& [id, count] : asked) CHECK(count == 1);
  CallableJudge other([&](const JudgeRequest&) { return text("[[7]]"); }, {.name = "other"});
  CHECK_THROWS_AS(judge(run.records, other, options), std::invalid_argument);
}

TEST_CASE("judge: a progress function stops a pass between replies") {
  const Recorded run;
  int64_t calls = 0;
  CallableJudge grader([&](const JudgeRequest&) {
    ++calls;
    return text("[[7]]");
  });
  JudgeOptions options = run.options();
  options.progress = [](const Progress& progress) { return progress.done < 2; };
  CHECK_THROWS_AS(judge(run.records, grader, options), Cancelled);
  CHECK(calls == 2);
}

TEST_CASE("judge: a scorer is a judge, batch by batch") {
  FakeScorer scorer;
  LocalJudge local(scorer, {[](const std::vector<ChatMessage>& messages) {
                     return messages[0].content + "|" + messages[1].content;
                   }},
                   {.name = "bar", .batch = 2});
  std::vector<JudgeRequest> requests(5);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].system = "s";
    requests[i].prompt = std::to_string(i);
    requests[i].seed = i;
  }
  std::vector<std::string> replies(5);
  local.reply(requests, [&](int64_t i, const JudgeReply& reply) {
    replies[static_cast<std::size_t>(i)] = reply.text;
    CHECK(reply.finish == "length");
  });
  CHECK(replies == std::vector<std::string>{"s|0#0", "s|1#1", "s|2#2", "s|3#3", "s|4#4"});
  CHECK(scorer.calls == 3);
  CHECK(local.info().settings.at("template") == "bar");
  CHECK(local.info().model == "weights");

  // A template that shows the user's words alone does not lose the system's.
  LocalJudge plain(scorer, chat_templates().get("none"));
  plain.reply({requests[3]},
              [](int64_t, const JudgeReply& reply) { CHECK(reply.text == "s\n\n3#3"); });
}
