#include "cupel/eval/task.h"

#include "support/catch.h"

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/evaluate.h"
#include "support/fake_scorer.h"
#include "support/format_error.h"
#include "support/mmlu_folder.h"

using namespace cupel;
using namespace cupel::test;

TEST_CASE("mmlu: items and prompts of the published form") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto items = load(*task, folder.path(), {{"shots", "2"}});
  REQUIRE(items.size() == 4);
  CHECK(items[0].id == "astronomy/0");
  CHECK(items[1].id == "astronomy/1");
  CHECK(items[2].id == "knots/0");
  CHECK(items[3].id == "moral_disputes/0");
  CHECK(items[3].category == "moral_disputes");
  CHECK(items[1].list("choices") == std::vector<std::string>{"Sun", "Mars", "Io", "None"});
  CHECK(items[1].text("answer") == "C");
  CHECK(items[3].text("paper_shots") == "2");
  CHECK(prompt(*task, items[3], "paper") ==
        "The following are multiple choice questions (with answers) about  moral disputes.\n\n"
        "moral_disputes 1?\nA. a1\nB. b1\nC. c1\nD. d1\nAnswer: A\n\n"
        " moral_disputes 2,\nor not? \nA. a2\nB. b2\nC. c2\nD. d2\nAnswer: D\n\n"
        " Is it\nright? \nA. yes\nB.  no\nC. it \"is\"\nD. none\nAnswer:");
  const auto none = load(*task, folder.path(), {{"shots", "0"}});
  CHECK(prompt(*task, none[1], "strict") ==
        "The following are multiple choice questions (with answers) about  astronomy.\n\n"
        "Which moon?\nA. Sun\nB. Mars\nC. Io\nD. None\nAnswer:");
}

TEST_CASE("mmlu: forms of the prompt change the protocol strict alone") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto of = [&](const std::string& form, const std::string& protocol) {
    const auto items = load(*task, folder.path(), {{"shots", "2"}, {"form", form}});
    return prompt(*task, items[3], protocol);
  };
  const std::string kick = of("kick", "strict");
  CHECK(of("hendrycks", "strict") == kick);
  CHECK(of("harness", "paper") == kick);
  CHECK(of("plain", "paper") == kick);
  std::string plain = kick;
  plain.erase(plain.find("  moral"), 1);
  CHECK(of("plain", "strict") == plain);
  CHECK(of("harness", "strict") ==
        "The following are multiple choice questions (with answers) about moral disputes.\n\n"
        "moral_disputes 1?\nA. a1\nB. b1\nC. c1\nD. d1\nAnswer: A\n\n"
        "moral_disputes 2,\nor not?\nA. a2\nB. b2\nC. c2\nD. d2\nAnswer: D\n\n"
        "Is it\nright?\nA. yes\nB.  no\nC. it \"is\"\nD. none\nAnswer:");
  CHECK_THROWS_WITH(of("lm-eval", "paper"), Catch::Contains("form is kick"));
}

TEST_CASE("mmlu: options choose split, subjects and questions") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto ids = [&](const OptionMap& options) {
    std::vector<std::string> ids;
    for (const auto& item : load(*task, folder.path(), options)) ids.push_back(item.id);
    return ids;
  };
  using Ids = std::vector<std::string>;
  CHECK(ids({{"shots", "1"}, {"per_subject", "1"}}) ==
        Ids{"astronomy/0", "knots/0", "moral_disputes/0"});
  CHECK(ids({{"shots", "0"}, {"subjects", "knots+astronomy"}, {"per_subject", "7"}}) ==
        Ids{"astronomy/0", "astronomy/1", "knots/0"});
  const auto val = load(*task, folder.path(), {{"shots", "1"}, {"split", "val"}});
  CHECK(val.size() == 3);
  CHECK(val[0].text("question") == "val astronomy");
  CHECK_THAT(prompt(*task, val[0], "paper"), Catch::Contains("astronomy 1?"));
  CHECK(ids({{"shots", "0"}, {"split", "dev"}}).size() == 6);
  const auto refused = [&](const OptionMap& options, const std::string& rule) {
    INFO(rule);
    CHECK_THROWS_WITH(load(*task, folder.path(), options), Catch::Contains(rule));
  };
  refused({{"shots", "2"}, {"split", "dev"}}, "split=dev needs shots=0");
  refused({{"split", "train"}}, "split is test, val or dev. Got 'train'");
  refused({{"subjects", "astronomy+law"}}, "Got 'law'");
  refused({{"subjects", "astronomy+"}}, "Got ''");
  refused({{"full_text", "2"}}, "full_text is 0 or 1. Got 2");
  refused({{"shots", "-1"}}, "mmlu:shots is a whole number");
  refused({{"shots", "3"}}, "astronomy_dev.csv: holds 2 questions, where 3 shots are asked for");
}

TEST_CASE("mmlu: bad files are refused by name and line") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto refused = [&](const std::string& text, const std::string& line,
                           const std::string& rule) {
    INFO(text);
    folder.write("test", "knots", "\"a\nb\",1,2,3,4,A\n" + text);
    const std::string file = folder.file("test", "knots");
    require_format_error([&] { load(*task, folder.path(), {{"shots", "0"}}); }, file, rule);
    require_format_error([&] { load(*task, folder.path(), {{"shots", "0"}}); }, line, rule);
  };
  refused("q,1,2,3,A\n", "line 3", "a record has 6 fields. Got 5");
  refused("q,1,2,3,4,E\n", "line 3", "is A, B, C or D. Got 'E'");
  refused("q,1,2,3,4,a\n", "line 3", "is A, B, C or D. Got 'a'");
  refused("q,1,2,3,4,\n", "line 3", "is A, B, C or D. Got ''");
  refused("q,1,2, ,4,A\n", "line 3", "option C is more than white space");
  refused(",1,2,3,4,A\n", "line 3", "the question is more than white space");
  refused("q,1,2,3,4,A\n\"q\n,1,2,3,4,A\n", "line 4", "a quoted field ends in a quote");
  refused("q,1,2,3,\xC3,A\n", "line 3", "not valid UTF-8");
  folder.write("test", "knots", "");
  require_format_error([&] { load(*task, folder.path(), {{"shots", "0"}}); },
                       folder.file("test", "knots"), "there is no record");
  folder.write("test", "knots", "q,1,2,3,4,A\n");
  std::filesystem::remove(folder.file("dev", "knots"));
  require_format_error([&] { load(*task, folder.path(), {{"shots", "1"}}); },
                       folder.file("dev", "knots"), "");
  CHECK(load(*task, folder.path(), {{"shots", "0"}}).size() == 4);
  const TemporaryFolder empty;
  require_format_error([&] { load(*task, empty.path()); }, empty.path(), "SUBJECT_test.csv");
}

TEST_CASE("mmlu: paper reads the last character of prompt and greedy token") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto items = load(*task, folder.path(), {{"shots", "0"}});
  const TaskItem& item = items[1];  // C
  const auto asked = task->requests(item, "paper", {});
  REQUIRE(asked.size() == 1);
  CHECK(asked[0].continuation == " A");
  const auto score = [&](const std::string& text) {
    CHECK(task->requests(item, "paper", {greedy(text)}).empty());
    return task->score(item, "paper", {greedy(text)});
  };
  CHECK(score(" C").values == std::map<std::string, double>{{"accuracy", 1}});
  CHECK(score(" C").prediction == "C");
  CHECK(score(" C").flags.empty());
  CHECK(score("ABC").values.at("accuracy") == 1);  // the published rule looks no further
  CHECK(score(" B").values.at("accuracy") == 0);
  CHECK(score(" B").flags.empty());
  for (const auto& [text, last] : std::map<std::string, std::string>{
           {" c", "c"}, {" C ", " "}, {"\n", "\n"}, {"", ":"}, {" é", "é"}, {" E", "E"}}) {
    INFO(text);
    CHECK(score(text).prediction == last);
    CHECK(score(text).values.at("accuracy") == 0);
    CHECK(score(text).flags == std::vector<std::string>{"invalid"});
  }
}

TEST_CASE("mmlu: paper generates where a log-likelihood does not say the greedy token") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto items = load(*task, folder.path(), {{"shots", "0"}});
  TaskOutput shifted = greedy(" C");
  shifted.likelihood.flags = {"boundary_shift"};
  for (const TaskOutput& first : {likelihood(-1), shifted}) {
    const auto more = task->requests(items[1], "paper", {first});
    REQUIRE(more.size() == 1);
    CHECK(more[0].kind == TaskRequest::Kind::generate);
    CHECK(more[0].generation.prompt == prompt(*task, items[1], "paper"));
    CHECK(more[0].generation.max_new_tokens == 1);
    CHECK(more[0].generation.temperature == 0);
    const TaskOutput made{.generation = {" B", 1, "length", {}}};
    CHECK(task->requests(items[1], "paper", {first, made}).empty());
    CHECK(task->score(items[1], "paper", {first, made}).prediction == "B");
  }
}

TEST_CASE("mmlu: strict takes the likeliest letter") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto items = load(*task, folder.path(), {{"shots", "0"}});
  const auto asked = task->requests(items[1], "strict", {});
  REQUIRE(asked.size() == 4);
  CHECK(asked[3].continuation == " D");
  CHECK(asked[0].context == asked[3].context);
  const auto outputs = [](double a, double b, double c, double d, bool greedy) {
    return std::vector{likelihood(a), likelihood(b), likelihood(c, greedy), likelihood(d)};
  };
  const auto right = task->score(items[1], "strict", outputs(-2, -3, -1, -4, true));
  CHECK(right.prediction == "C");
  CHECK(right.values.at("accuracy") == 1);
  CHECK(right.values.at("letter_mass") ==
        Approx(std::exp(-1) + std::exp(-2) + std::exp(-3) + std::exp(-4)));
  CHECK(right.values.size() == 2);
  CHECK(right.flags.empty());
  const auto other = task->score(items[1], "strict", outputs(-2, -2, -2, -4, false));
  CHECK(other.prediction == "A");  // ties: the earlier letter
  CHECK(other.values.at("accuracy") == 0);
  CHECK(other.flags == std::vector<std::string>{"invalid"});
}

TEST_CASE("mmlu: full_text scores the options themselves") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto items = load(*task, folder.path(), {{"shots", "0"}, {"full_text", "1"}});
  const auto asked = task->requests(items[2], "strict", {});  // reef, granny, é, bowline: A
  REQUIRE(asked.size() == 8);
  CHECK(asked[5].continuation == " granny");
  CHECK(asked[5].context == asked[0].context);
  CHECK(task->requests(items[2], "paper", {}).size() == 1);
  std::vector<TaskOutput> outputs(4, likelihood(-3));
  for (const double value : {-4.0, -6.6, -2.0, -7.7}) outputs.push_back(likelihood(value));
  auto score = task->score(items[2], "strict", outputs);
  CHECK(score.values.at("text_accuracy") == 0);  // é
  CHECK(score.values.at("text_acc_norm") == 1);  // -1, -1.1, -2 for its one character, -1.1
  outputs[4] = likelihood(-1.9);
  outputs[5] = likelihood(-1.8);
  score = task->score(items[2], "strict", outputs);
  CHECK(score.values.at("text_accuracy") == 0);  // granny
  CHECK(score.values.at("text_acc_norm") == 0);
}

TEST_CASE("mmlu: metrics by subject, group and over all") {
  const MmluFolder folder;
  const auto task = mmlu();
  load(*task, folder.path(), {{"shots", "2"}});
  const auto score = [](const std::string& subject, const std::string& gold, double accuracy,
                        const std::vector<std::string>& flags = {}) {
    return ItemScore{"", subject, "A", gold, {{"accuracy", accuracy}}, flags};
  };
  const std::vector<ItemScore> scores{
      score("astronomy", "A", 1),
      score("astronomy", "A", 1, {"shots_dropped", "shots_1"}),
      score("college_physics", "B", 0, {"invalid"}),
      score("anatomy", "B", 1),
      score("prehistory", "B", 0, {"invalid", "shots_dropped", "shots_0"}),
      score("knots", "C", 0, {"unknown_subject"})};
  const std::map<std::string, double> expected{{"items", 6},
                                               {"accuracy", 0.5},
                                               {"accuracy_macro", 0.4},
                                               {"invalid_rate", 2.0 / 6},
                                               {"constant_answer_accuracy", 0.5},
                                               {"shots", 1.5},
                                               {"flag_invalid", 2},
                                               {"flag_shots_dropped", 2},
                                               {"flag_shots_1", 1},
                                               {"flag_shots_0", 1},
                                               {"flag_unknown_subject", 1},
                                               {"items/astronomy", 2},
                                               {"items/college_physics", 1},
                                               {"items/anatomy", 1},
                                               {"items/prehistory", 1},
                                               {"items/knots", 1},
                                               {"accuracy/astronomy", 1},
                                               {"accuracy/college_physics", 0},
                                               {"accuracy/anatomy", 1},
                                               {"accuracy/prehistory", 0},
                                               {"accuracy/knots", 0},
                                               {"items/subcategory:physics", 3},
                                               {"items/subcategory:health", 1},
                                               {"items/subcategory:history", 1},
                                               {"items/subcategory:other", 1},
                                               {"accuracy/subcategory:physics", 2.0 / 3},
                                               {"accuracy/subcategory:health", 1},
                                               {"accuracy/subcategory:history", 0},
                                               {"accuracy/subcategory:other", 0},
                                               {"items/category:STEM", 3},
                                               {"items/category:humanities", 1},
                                               {"items/category:other", 2},
                                               {"accuracy/category:STEM", 2.0 / 3},
                                               {"accuracy/category:humanities", 0},
                                               {"accuracy/category:other", 0.5}};
  const auto metrics = task->aggregate(scores, "paper");
  for (const auto& [name, value] : metrics) {
    INFO(name);
    REQUIRE(expected.count(name));
    CHECK(value == Approx(expected.at(name)));
  }
  CHECK(metrics.size() == expected.size());
  CHECK(task->aggregate({}, "paper") == std::map<std::string, double>{{"items", 0}});
}

TEST_CASE("mmlu: both protocols of a run share their requests") {
  const MmluFolder folder;
  FakeScorer scorer;
  scorer.values = {{" A", -1}, {" B", -2}, {" C", -3}, {" D", -4}};
  const auto result = evaluate(scorer, {"mmlu:shots=1,file=" + folder.path()});
  CHECK(scorer.pairs.size() == 16);
  for (const auto& [pair, times] : scorer.pairs) CHECK(times == 1);
  CHECK(scorer.prompts.size() == 4);  // it does not say its greedy token
  const auto& strict = result.metrics.at("mmlu").at("strict");
  CHECK(strict.at("accuracy") == 0.5);
  CHECK(strict.at("accuracy_macro") == 0.5);  // 1/2, 1, 0
  CHECK(strict.at("constant_answer_accuracy") == 0.5);
  CHECK(strict.at("accuracy/category:STEM") == 0.5);
  CHECK(strict.at("flag_unknown_subject") == 1);
  // The fake generation ends in a seed.
  CHECK(result.metrics.at("mmlu").at("paper").at("invalid_rate") == 1);
  CHECK(result.items.at("mmlu").at("paper")[0].id == "astronomy/0");

  FakeScorer apart;
  evaluate(apart, {"mmlu:shots=1,form=harness,file=" + folder.path()});
  CHECK(apart.pairs.size() == 20);
}
