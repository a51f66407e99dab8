#include "support/catch.h"
#include <filesystem>

#include "cupel/core/error.h"
#include "cupel/eval/task.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::TemporaryFolder;

namespace {

const char* kStory =
    "(CNN) -- A cat sat down.\n\nIt ran away on Monday.  \n\n@highlight\n\nCat "
    "sits\n\n@highlight\n\n"
    "Then it runs";

std::map<std::string, std::string> options(const Task& task,
                                           std::map<std::string, std::string> given) {
  std::map<std::string, std::string> values;
  for (const auto& option : task.info().options) values[option.name] = option.value;
  for (const auto& [name, value] : given) values[name] = value;
  return values;
}

struct Loaded {
  explicit Loaded(const std::string& path, std::map<std::string, std::string> given = {}) {
    given.emplace("template", "none");
    task = tasks().get("summarization")();
    items = task->load(path, TaskOptions("summarization", options(*task, given)));
  }
  GenerationRequest request(const std::string& protocol, std::size_t item = 0) const {
    return task->requests(items.at(item), protocol, {}).at(0).generation;
  }
  ItemScore score(const std::string& text, std::size_t item = 0) const {
    TaskOutput output;
    output.generation = {text, 7, "end", {}};
    return task->score(items.at(item), "strict", {output});
  }
  std::shared_ptr<Task> task;
  std::vector<TaskItem> items;
};

std::string words(int count, const std::string& word) {
  std::string text;
  for (int i = 0; i < count; ++i) text += word + " ";
  return text;
}

}  // namespace

TEST_CASE("summarization: a story file is asked in both ways") {
  const TemporaryFolder folder;
  folder.write("one.story", kStory);
  const Loaded data(folder.path());
  REQUIRE(data.items.size() == 1);
  CHECK(data.items[0].id == "one");
  CHECK(data.items[0].category == "small");
  CHECK(data.request("strict").prompt ==
        "Summarize the given news in less than 150 words while preserving high coherence, "
        "consistency, fluency, and relevance.\n\n(CNN) -- A cat sat down.\nIt ran away on Monday.");
  CHECK(data.request("paper").prompt ==
        "Summarize the given story in less than 150 words while preserving high coherence, "
        "consistency, fluency, and relevance.\n\n(CNN) -- A cat sat down.It ran away on Monday."
        "@highlightCat sits@highlightThen it runs");
  CHECK(data.request("strict").temperature == 0);
  CHECK(data.request("paper").temperature == 0.7);
  CHECK(data.request("paper").max_new_tokens == 1024);
  CHECK(data.items[0].text("reference") == "Cat sits\nThen it runs");
  const Loaded kept(folder.path(), {{"highlights", "keep"}, {"temperature", "0.2"}});
  CHECK_THAT(kept.request("strict").prompt, Catch::EndsWith("Monday.\nCat sits\nThen it runs"));
  CHECK(kept.request("paper").temperature == 0.2);
  const Loaded stripped(folder.path(), {{"highlights", "strip"}});
  CHECK_THAT(stripped.request("paper").prompt, Catch::EndsWith("It ran away on Monday."));
}

TEST_CASE("summarization: a published question gives the same texts as its story") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.file("small"));
  folder.write("small/one.story", kStory);
  const Loaded story(folder.file("small"));
  const Loaded question(folder.write(
      "q.jsonl",
      R"({"question_id": 4, "category": "small", "text": "Summarize the given story in less than 150 )"
      R"(words while preserving high coherence, consistency, fluency, and relevance.\n\n(CNN) -- A )"
      R"(cat sat down.It ran away on Monday.@highlightCat sits@highlightThen it runs"})"
      "\n"));
  CHECK(question.items[0].id == "4");
  CHECK(question.request("paper").prompt == story.request("paper").prompt);
  CHECK(question.items[0].list("reference") == story.items[0].list("reference"));
  CHECK_THAT(question.request("strict").prompt, !Catch::Contains("highlight"));
  CHECK_THAT(question.request("strict").prompt, Catch::Contains("given news"));
}

TEST_CASE("summarization: buckets, duplicates and the first of each bucket") {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) std::filesystem::create_directory(folder.file(name));
  folder.write("a/1.story", words(470, "x"));
  folder.write("a/2.story", words(471, "x"));
  folder.write("a/3.story", words(789, "x"));
  folder.write("b/1.story", words(790, "x"));
  folder.write("b/2.story", words(470, "x") + "\n\n@highlight\n\nother highlights");
  folder.write("b/notes.txt", "no story");
  const Loaded data(folder.path());
  std::vector<std::string> buckets;
  for (const auto& item : data.items) buckets.push_back(item.id + " " + item.category);
  CHECK(buckets == std::vector<std::string>{"a/1 small", "a/2 medium", "a/3 medium", "b/1 large"});
  CHECK(data.task->aggregate({data.score("x")}, "strict").at("duplicates_removed") == 1);
  CHECK_THAT(data.request("paper", 1).prompt, Catch::Contains("given news"));
  const Loaded first(folder.path(), {{"per_bucket", "1"}});
  CHECK(first.items.size() == 3);
  const Loaded own(folder.path(), {{"bucket", "file"}});
  CHECK(own.items[0].category == "a");
  const Loaded bounds(folder.path(), {{"small", "1"}, {"large", "2"}});
  CHECK(bounds.items[0].category == "large");
}

TEST_CASE("summarization: what a summary is worth") {
  const TemporaryFolder folder;
  const Loaded data(folder.write(
      "q.jsonl", R"({"text": "The cat sat down. It ran.", "reference": ["the cat sat", "a dog"], )"
                 R"("facts": ["cat", ["ran off", "it ran"], "dog"]})"
                 "\n"
                 R"({"id": "bare", "text": "Another story."})"
                 "\n"));
  const ItemScore score = data.score(" The cats sat. It ran! ");
  CHECK(score.prediction == "The cats sat. It ran!");
  CHECK(score.gold == "the cat sat");
  CHECK(score.values.at("words") == 5);
  CHECK(score.values.at("unique_tokens") == 5);
  CHECK(score.values.at("tokens") == 7);
  CHECK(score.values.at("length_ratio") == Approx(5.0 / 6));
  CHECK(score.values.at("under_150_words") == 1);
  CHECK(score.values.at("rouge1") == Approx(2 * 0.6 / 1.6));  // 3 of 5 words, 3 of 3, by stems
  CHECK(score.values.at("facts") == Approx(1.0 / 3));         // "cats" is not the word "cat"
  CHECK(score.values.at("novel_2") == Approx(3.0 / 4));       // the cats, cats sat, sat it
  CHECK(score.flags.empty());
  const ItemScore bare = data.score(" \n", 1);
  CHECK(bare.values.count("rouge1") + bare.values.count("facts") == 0);
  CHECK(bare.values.at("words") == 0);
  CHECK(bare.values.at("novel_2") == 0);
  CHECK(bare.values.at("distinct_2") == 1);
  CHECK(bare.flags == std::vector<std::string>{"empty"});
  const auto metrics = data.task->aggregate({score, bare}, "strict");
  CHECK(metrics.at("items_with_rouge1") == 1);
  CHECK(metrics.count("duplicates_removed") == 0);
}

TEST_CASE("summarization: an overlong story loses its end, and only by the strict rule") {
  const TemporaryFolder folder;
  folder.write("one.story", words(300, "word") + "\n\n@highlight\n\nshort");
  const auto task = tasks().get("summarization")();
  task->set_measure(
      {1000, [](const std::string& text) { return static_cast<int64_t>(text.size()); }});
  const auto items =
      task->load(folder.path(),
                 TaskOptions("summarization",
                             options(*task, {{"template", "none"}, {"max_new_tokens", "400"}})));
  const auto strict = task->requests(items[0], "strict", {});
  CHECK(strict.at(0).generation.prompt.size() == 600);
  CHECK(strict.at(0).generation.prompt.rfind("Summarize", 0) == 0);
  TaskOutput output;
  output.generation = {"text", 1, "end", {}};
  CHECK(task->score(items[0], "strict", {output}).flags == std::vector<std::string>{"cut"});
  CHECK(task->requests(items[0], "paper", {}).empty());  // 1,500 characters do not fit at all
  const ItemScore paper = task->score(items[0], "paper", {});
  CHECK(paper.flags == std::vector<std::string>{"overflow", "empty"});
  CHECK(paper.values.at("rouge1") == 0);
}

TEST_CASE("summarization: bad data and options are named") {
  const TemporaryFolder folder;
  const auto refused = [](const std::string& path, std::map<std::string, std::string> given,
                          const std::string& rule) {
    INFO(rule);
    CHECK_THROWS_WITH(Loaded(path, given), Catch::Contains(rule));
  };
  const auto line = [&](const std::string& text) { return folder.write("q.jsonl", text + "\n"); };
  refused(line(R"({"id": 1})"), {}, "there is no field \"text\"");
  refused(line(R"({"text": "@highlight x"})"), {}, "a story before its highlights");
  refused(line(R"({"text": "a", "facts": []})"), {}, "\"facts\" is a list of texts");
  refused(line(R"({"text": "a", "facts": [["x", " "]]})"), {}, "none of them empty");
  refused(line(R"({"text": "a", "facts": [3]})"), {}, "\"facts\" is a list of texts");
  const std::string good = line(R"({"text": "a"})");
  refused(good, {{"highlights", "some"}}, "summarization:highlights is auto or keep or strip");
  refused(good, {{"stem", "yes"}}, "summarization:stem is false or true. Got 'yes'");
  refused(good, {{"bucket", "x"}}, "summarization:bucket is file or words");
  refused(good, {{"small", "9"}, {"large", "9"}}, "small is below large. Got 9 and 9");
  std::filesystem::create_directory(folder.file("empty"));
  refused(folder.file("empty"), {}, "there is no .story file in the folder");
  folder.write("empty/x.story", "@highlight\n\nonly");
  refused(folder.file("empty"), {}, "a story has text before its highlights");
}
