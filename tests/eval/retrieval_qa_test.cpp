// retrieval_qa on files that the tests write, with a scorer that counts characters.
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
using Values = std::map<std::string, double>;

TaskOptions options_of(const Task& task, Options changed = {}) {
  for (const auto& option : task.info().options) changed.emplace(option.name, option.value);
  return TaskOptions(task.info().name, changed);
}

TaskOutput text(const std::string& text) { return {.generation = {text, 1, "end", {}}}; }

// One token a byte.
TextMeasure letters_of(int64_t limit) {
  return {.limit = limit,
          .count = [](const std::string& text) { return static_cast<int64_t>(text.size()); }};
}

// The only prompt of an item, the same in both protocols.
std::string prompt_of(const Task& task, const TaskItem& item) {
  const auto paper = task.requests(item, "paper", {}), strict = task.requests(item, "strict", {});
  REQUIRE(paper.size() == 1);
  REQUIRE(strict.size() == 1);
  CHECK(paper[0].generation.stop.empty());
  CHECK(strict[0].generation.stop == Texts{"\n"});
  CHECK(paper[0].generation.prompt == strict[0].generation.prompt);
  CHECK(task.requests(item, "paper", {text("")}).empty());
  return paper[0].generation.prompt;
}

bool has_flag(const ItemScore& score, const std::string& flag) {
  return std::find(score.flags.begin(), score.flags.end(), flag) != score.flags.end();
}

const char* const kOpen = "\n\nBased on these texts, answer these questions:\n\n";

// The official layout: qa/web.json beside evidence/.
struct Official {
  Official() {
    for (const char* part : {"qa", "evidence/wikipedia", "evidence/web/1"}) {
      std::filesystem::create_directories(folder.file(part));
    }
    folder.write("evidence/wikipedia/Page.txt", " Wiki text.\r\n");
    folder.write("evidence/web/1/2.txt", "Web rést");
    write(R"({"QuestionId": "q1", "Question": "Who?",
              "Answer": {"Value": "The Rest", "NormalizedAliases": ["rést", "rest"],
                         "HumanAnswers": ["Remains!"]},
              "EntityPages": [{"Filename": "Page.txt"}, {"Filename": "none"}],
              "SearchResults": [{"Filename": "1/2.txt"}]})");
  }
  std::string write(const std::string& questions) {
    return file = folder.write("qa/web.json", "{\"Data\": [" + questions + "]}");
  }
  std::vector<TaskItem> load(Task& task, const Options& options = {}) const {
    return task.load(file, options_of(task, options));
  }
  std::string prompt(const Options& options) const {
    const auto task = retrieval_qa();
    const auto items = load(*task, options);
    return prompt_of(*task, items.at(0));
  }

  TemporaryFolder folder;
  std::string file;
};

std::string line(const std::string& question, const std::string& answer,
                 const std::string& context = "") {
  return "{\"question\": \"" + question + "\", \"answer\": \"" + answer + "\", \"context\": \"" +
         context + "\"}\n";
}

}  // namespace

TEST_CASE("retrieval_qa: the official files, and how their evidence is joined and cut") {
  const Official data;
  const std::string end = "Q: Who?\nA:";
  CHECK(data.prompt({{"book", "closed"}}) == "Answer these questions:\n\n" + end);
  CHECK(data.prompt({}) == "Wiki text.\nWeb rést" + (kOpen + end));
  CHECK(data.prompt({{"wording", "paper"}}) ==
        "Wiki text.\nWeb rést\n\nAnswer these questions:\n\n" + end);
  CHECK(data.prompt({{"order", "web+wiki"}, {"joiner", "blank_line"}}) ==
        "Web rést\n\n Wiki text.\n" + (kOpen + end));
  CHECK(data.prompt({{"order", "web"}, {"cut", "chars:6"}}) == "Web ré" + (kOpen + end));
  // The white space in front counts before the whole prompt is stripped.
  CHECK(data.prompt({{"cut", "chars:5"}}) == "Wiki" + (kOpen + end));
  CHECK(data.prompt({{"order", "wiki"}, {"cut", "all"}}) == "Wiki text.\n" + (kOpen + end));
  const auto task = retrieval_qa();
  task->set_measure(letters_of(0));
  CHECK(prompt_of(*task, data.load(*task, {{"order", "web"}, {"cut", "tokens:5"}})[0]) ==
        "Web r" + (kOpen + end));
  CHECK(prompt_of(*task, data.load(*task, {{"evidence", data.folder.file("evidence")}})[0]) ==
        "Wiki text.\nWeb rést" + (kOpen + end));
}

TEST_CASE("retrieval_qa: published scores and official ones") {
  const Official data;
  const auto task = retrieval_qa();
  const auto items = data.load(*task);
  const auto values = [&](const std::string& protocol, const std::string& written) {
    return task->score(items[0], protocol, {text(written)}).values;
  };
  CHECK(values("paper", " The rest.") == Values{{"em_kick", 1}, {"f1", 1}});
  CHECK(values("paper", "\n\nthe rest of them\nno") ==
        Values{{"em_kick", 1}, {"f1", 2 * 1 * (1.0 / 3) / (1 + 1.0 / 3)}});
  CHECK(values("paper", "") == Values{{"em_kick", 1}, {"f1", 0}});
  CHECK(values("paper", "the") == Values{{"em_kick", 1}, {"f1", 0}});
  CHECK(values("paper", "remains") == Values{{"em_kick", 0}, {"f1", 0}});
  CHECK(values("strict", " The rest.") == Values{{"em", 1}, {"f1", 1}});
  CHECK(values("strict", "remains") == Values{{"em", 1}, {"f1", 1}});
  CHECK(values("strict", "the rest of them").at("em") == 0);
  CHECK(values("strict", "\nrest") == Values{{"em", 0}, {"f1", 0}});
  CHECK(values("strict", "") == Values{{"em", 0}, {"f1", 0}});
  CHECK(has_flag(task->score(items[0], "strict", {text("the ...")}), "empty_answer"));
  CHECK_FALSE(has_flag(task->score(items[0], "strict", {text("x")}), "empty_answer"));
  CHECK_FALSE(has_flag(task->score(items[0], "strict", {text("x")}), "answer_not_in_evidence"));
  const auto wiki = data.load(*task, {{"order", "wiki"}});
  const auto other = retrieval_qa();
  CHECK(has_flag(other->score(data.load(*other, {{"order", "wiki"}})[0], "paper", {text("x")}),
                 "answer_not_in_evidence"));
  const auto closed = retrieval_qa();
  CHECK_FALSE(
      has_flag(closed->score(data.load(*closed, {{"book", "closed"}})[0], "paper", {text("x")}),
               "answer_not_in_evidence"));
}

TEST_CASE("retrieval_qa: Hugging Face's fields, by columns or by rows; ids that come twice") {
  const TemporaryFolder folder;
  const std::string head = R"({"question": "Who?", "question_id": "tc_1", "answer":
      {"value": "X", "normalized_aliases": ["x", "y"]}, )";
  auto bytes = head + R"("entity_pages": {"wiki_context": ["wiki"]},
                         "search_results": {"search_context": []}})" +
               "\n\n" + head +
               R"("entity_pages": [], "search_results": [{"search_context": "web"}]})" + "\r\n" +
               head + R"("entity_pages": {"wiki_context": []}})";
  std::string lines;
  for (std::size_t i = 0; i < bytes.size(); ++i) {  // one record a line
    if (bytes[i] == '\n' && i + 1 < bytes.size() && bytes[i + 1] == ' ') continue;
    lines += bytes[i];
  }
  const auto task = retrieval_qa();
  const auto items = task->load(folder.write("h.jsonl", lines), options_of(*task));
  REQUIRE(items.size() == 3);
  CHECK(items[0].id == "tc_1");
  CHECK(items[1].id == "tc_1#2");
  CHECK(items[2].id == "tc_1#3");
  CHECK(prompt_of(*task, items[0]) == std::string("wiki") + kOpen + "Q: Who?\nA:");
  CHECK(prompt_of(*task, items[1]) == std::string("web") + kOpen + "Q: Who?\nA:");
  CHECK(prompt_of(*task, items[2]) ==
        "Based on these texts, answer these questions:\n\nQ: Who?\nA:");
  CHECK(has_flag(task->score(items[2], "strict", {text("x")}), "no_evidence"));
  CHECK_FALSE(has_flag(task->score(items[1], "strict", {text("x")}), "no_evidence"));
  CHECK(items[0].list("gold") == Texts{"x", "y"});
}

TEST_CASE("retrieval_qa: lines of one's own") {
  const TemporaryFolder folder;
  const auto task = retrieval_qa();
  const std::string file = folder.write(
      "own.jsonl",
      R"({"question": "Who?", "answer": "The X", "aliases": ["x", "Y!"], "context": "Text x", "id": 7, "category": "c"})"
      "\n"
      R"({"answer": "Z", "context": "Some text.\n\nQuestion: Question: why?\nAnswer:"})");
  const auto items = task->load(file, options_of(*task));
  CHECK(items[0].id == "7");
  CHECK(items[0].category == "c");
  CHECK(items[0].list("gold") == Texts{"x", "y"});
  CHECK(prompt_of(*task, items[0]) == std::string("Text x") + kOpen + "Q: Who?\nA:");
  CHECK(items[1].id == "1");
  CHECK(items[1].text("evidence") == "Some text.");
  const auto refused = [&](const std::string& bytes, const std::string& where,
                           const std::string& rule, const Options& options = {}) {
    INFO(bytes);
    const std::string bad = folder.write("bad.jsonl", bytes);
    require_format_error([&] { task->load(bad, options_of(*task, options)); }, bad, rule);
    require_format_error([&] { task->load(bad, options_of(*task, options)); }, where, rule);
  };
  const std::string good = line("Who?", "x", "text");
  refused("", "", "there is no question");
  refused(good + "\n{\"question\": ", "line 3", "not valid JSON");
  refused(good + "[]", "line 2", "must hold a JSON object");
  refused("\xEF\xBB\xBF" + good, "line 1", "byte order mark");
  refused(good + "\"\xFF\"", "line 2", "not valid UTF-8");
  refused(good + R"({"question": "Who?"})", "line 2", "there is no field \"answer\"");
  refused(good + R"({"question": 3, "answer": "x"})", "line 2, question",
          "must be a string. Got 3");
  refused(good + R"({"answer": "x"})", "line 2", "there is no field \"context\"");
  refused(good + R"({"answer": "x", "context": "Who?"})", "line 2, context",
          "a context ends in \"Question: ...\\nAnswer:\"");
  refused(good + R"({"answer": "x", "context": "Question: Who?"})", "line 2, context", "ends in");
  refused(good + R"({"question": "Who?", "answer": {"value": "x"}})", "line 2, answer",
          "there is no field \"normalized_aliases\"");
  refused(good + R"({"question": "Who?", "answer": "x", "aliases": ["x", 1]})",
          "line 2, aliases[1]", "must be a string. Got 1");
  refused(line("Who?", "x"), "", "no question has any");
  CHECK(task->load(folder.write("c.jsonl", line("Who?", "x")),
                   options_of(*task, {{"book", "closed"}}))
            .size() == 1);
}

TEST_CASE("retrieval_qa: evidence that is missing, elsewhere or not text") {
  Official data;
  const auto task = retrieval_qa();
  const auto with = [&](const std::string& page) {
    return data.write(R"({"QuestionId": "a", "Question": "Who?", "Answer": {"Value": "x",
      "NormalizedAliases": ["x"]}, "EntityPages": [{"Filename": ")" +
                      page + R"("}], "SearchResults": [{"Filename": "1/2.txt"}]})");
  };
  with("Gone.txt");
  require_format_error([&] { data.load(*task); }, "Data[0].EntityPages[0].Filename",
                       "evidence/wikipedia/Gone.txt");
  const auto items = data.load(*task, {{"missing", "count"}});
  CHECK(prompt_of(*task, items[0]) == std::string("Web rést") + kOpen + "Q: Who?\nA:");
  CHECK(has_flag(task->score(items[0], "paper", {text("")}), "evidence_missing"));
  CHECK(data.load(*task, {{"book", "closed"}}).size() == 1);
  for (const char* outside : {"../web/1/2.txt", "/etc/hosts", "1/../../x", ""}) {
    with(outside);
    require_format_error([&] { data.load(*task); }, data.file, "below the evidence folder");
  }
  data.folder.write("evidence/wikipedia/Bad.txt", "ab\xFFxxxxxxxxx");
  with("Bad.txt");
  require_format_error([&] { data.load(*task); }, "Bad.txt", "not valid UTF-8");
  // Only what is used of a text is read, and a character may span the end of that.
  data.folder.write("evidence/wikipedia/Long.txt", "xéééé\xFF");
  with("Long.txt");
  CHECK(data.load(*task, {{"cut", "chars:2"}})[0].text("evidence") == "xé");
  with("Page.txt");
  std::filesystem::rename(data.folder.file("evidence"), data.folder.file("elsewhere"));
  require_format_error([&] { data.load(*task); }, data.file, "no folder \"evidence\"");
  CHECK(data.load(*task, {{"evidence", data.folder.file("elsewhere")}}).size() == 1);
  require_format_error([&] { data.load(*task, {{"evidence", data.folder.file("nowhere")}}); },
                       "nowhere", "must exist");
  require_format_error([&] { data.write("{}"), data.load(*task); }, "Data[0]", "QuestionId");
}

TEST_CASE("retrieval_qa: a folder's data files are chosen by name") {
  Official data;
  const auto task = retrieval_qa();
  const auto load = [&](const std::string& split) {
    return task->load(data.folder.path(),
                      options_of(*task, {{"split", split}, {"book", "closed"}}));
  };
  CHECK(load("").size() == 1);
  CHECK(load("web").size() == 1);
  data.folder.write("own.jsonl", line("Who?", "x") + line("Why?", "y"));
  CHECK(load("own").size() == 2);
  require_format_error([&] { load(""); }, data.folder.path(), "own.jsonl, web.json");
  require_format_error([&] { load("dev"); }, data.folder.path(), "data file of the split dev");
  require_format_error([&] { task->load(data.folder.file("x.tgz"), options_of(*task)); }, "x.tgz",
                       "unpack it");
  CHECK_THROWS_AS(task->load(data.file, options_of(*task, {{"split", "web"}})),
                  std::invalid_argument);
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"book", "both"},
                                                        {"order", "web+web"},
                                                        {"joiner", "-"},
                                                        {"cut", "chars"},
                                                        {"cut", "words:3"},
                                                        {"cut", "chars:0"},
                                                        {"cut", "tokens:3"},  // nobody counts them
                                                        {"wording", "x"},
                                                        {"missing", "x"},
                                                        {"shots", "1"}}) {
    INFO(name << "=" << value);
    CHECK_THROWS_AS(data.load(*task, {{name, value}}), std::invalid_argument);
  }
}

TEST_CASE("retrieval_qa: shots are the first other questions") {
  const TemporaryFolder folder;
  const auto task = retrieval_qa();
  const std::string file = folder.write(
      "d.jsonl", line("One?", "1") + line("One?", "1") + line("Two?", "2") + line("Three?", "3"));
  const Options two{{"book", "closed"}, {"shots", "2"}};
  const auto items = task->load(file, options_of(*task, two));
  const auto shot = [](const std::string& question, const std::string& answer) {
    return "Q: " + question + "\nA: " + answer + "\n\n";
  };
  const std::string head = "Answer these questions:\n\n";
  const std::string first = head + shot("Two?", "2") + shot("Three?", "3") + "Q: One?\nA:";
  CHECK(prompt_of(*task, items[0]) == first);
  CHECK(prompt_of(*task, items[1]) == first);  // the same question again
  CHECK(prompt_of(*task, items[3]) ==
        head + shot("One?", "1") + shot("Two?", "2") + "Q: Three?\nA:");
  CHECK_THROWS_AS(task->load(file, options_of(*task, {{"book", "closed"}, {"shots", "3"}})),
                  std::invalid_argument);
  Options own = two;
  own["shots_file"] = folder.write("s.jsonl", line("Two?", "2") + line("Four?", "4"));
  const auto other = retrieval_qa();
  const auto again = other->load(file, options_of(*other, own));
  CHECK(prompt_of(*other, again[0]) ==
        head + shot("Two?", "2") + shot("Four?", "4") + "Q: One?\nA:");
  CHECK(prompt_of(*other, again[2]) == head + shot("Four?", "4") + "Q: Two?\nA:");
  CHECK(has_flag(other->score(again[2], "paper", {text("x")}), "shots_dropped"));
  CHECK_FALSE(has_flag(other->score(again[0], "paper", {text("x")}), "shots_dropped"));
}

TEST_CASE("retrieval_qa: what does not fit goes in a fixed order, the question never") {
  const TemporaryFolder folder;
  const std::string file =
      folder.write("d.jsonl", line("One?", "1", "ééééé") + line("Two?", "2", "x"));
  const std::string tail = std::string("Based on these texts, answer these questions:\n\n");
  const std::string shot = "Q: Two?\nA: 2\n\n", question = "Q: One?\nA:";
  const auto bare = static_cast<int64_t>((tail + question).size());
  const auto shots = static_cast<int64_t>(shot.size());
  const auto check = [&](int64_t limit, const std::string& prompt, int64_t room,
                         const Texts& flags) {
    INFO("limit " << limit);
    const auto task = retrieval_qa();
    task->set_measure(letters_of(limit));
    const auto items =
        task->load(file, options_of(*task, {{"shots", "1"}, {"max_new_tokens", "4"}}));
    const auto score = task->score(items[0], "strict", {text("1")});
    for (const std::string flag :
         {"evidence_cut", "shots_dropped", "budget_cut", "question_too_long"}) {
      INFO(flag);
      CHECK(has_flag(score, flag) == (std::find(flags.begin(), flags.end(), flag) != flags.end()));
    }
    if (prompt.empty()) {
      CHECK(task->requests(items[0], "strict", {}).empty());
      CHECK(score.values == Values{{"em", 0}, {"f1", 0}});
      CHECK(task->score(items[0], "paper", {}).values == Values{{"em_kick", 0}, {"f1", 0}});
      CHECK_FALSE(has_flag(score, "empty_answer"));  // nothing was asked
      return;
    }
    CHECK(prompt_of(*task, items[0]) == prompt);
    CHECK(task->requests(items[0], "strict", {})[0].generation.max_new_tokens == room);
    CHECK(score.values.at("em") == 1);
  };
  const auto all = 12 + bare + shots + 4;  // the evidence, and the blank line behind it
  check(all, "ééééé\n\n" + tail + shot + question, 4, {});
  check(all - 1, "éééé\n\n" + tail + shot + question, 4, {"evidence_cut"});
  check(all - 8, "é\n\n" + tail + shot + question, 4, {"evidence_cut"});
  check(all - 9, tail + shot + question, 4, {"evidence_cut"});
  check(bare + shots + 3, tail + question, 4, {"evidence_cut", "shots_dropped"});
  check(bare + 3, tail + question, 3, {"evidence_cut", "shots_dropped", "budget_cut"});
  check(bare + 1, tail + question, 1, {"evidence_cut", "shots_dropped", "budget_cut"});
  check(bare, "", 0, {"evidence_cut", "shots_dropped", "question_too_long"});
}

TEST_CASE("retrieval_qa: metrics name empty answers and the ceiling of the open book") {
  const TemporaryFolder folder;
  FakeScorer scorer;  // writes the prompt again
  const std::string file = folder.write(
      "d.jsonl", line("One?", "text", "a text") + line("Two?", "2", "x") + line("Three?", "3"));
  const EvalResult result = evaluate(scorer, {"retrieval_qa:file=" + file});
  const auto& strict = result.metrics.at("retrieval_qa").at("strict");
  CHECK(strict.at("items") == 3);
  CHECK(strict.at("answer_in_evidence") == Approx(1.0 / 3));
  CHECK(strict.at("empty") == 0);
  CHECK(strict.at("flag_no_evidence") == 1);
  const auto closed = evaluate(scorer, {"retrieval_qa:book=closed,file=" + file});
  CHECK(closed.metrics.at("retrieval_qa").at("paper").count("answer_in_evidence") == 0);
}
