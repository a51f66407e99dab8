// Summaries of news, LLM-KICK's "in-context summarization" (Jaiswal et al. 2024), in three buckets of
// length. Values are what can be told without a judge; judging is a second pass over the record.
//
// strict   highlights stripped, paragraphs as lines, one instruction, greedy; a story that leaves too
//          little room for the summary loses its end
// paper    as the published code asks: highlights, which are the reference, stand in the prompt, lines
//          are joined without a separator, "story" or "news" by bucket, temperature 0.7; nothing is cut
#include <map>
#include <set>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/rouge.h"
#include "cupel/eval/text_figures.h"
#include "eval/tasks/answer_values.h"
#include "eval/tasks/chat_writer.h"
#include "eval/tasks/story_data.h"

namespace cupel {

namespace {

std::string instruction_for(const std::string& kind) {
  return "Summarize the given " + kind +
         " in less than 150 words while preserving high coherence, consistency, fluency, and "
         "relevance.";
}

int64_t word_count(const std::string& text) {
  return static_cast<int64_t>(split_words(text).size());
}

class SummarizationTask : public Task {
 public:
  TaskInfo info() const override {
    TaskInfo made{.name = "summarization",
                  .description = "summaries of news stories: ROUGE, facts, novelty, repetition",
                  .protocols = {"strict", "paper"},
                  .options = ChatWriter::options(),
                  .data = "cnn_dailymail"};
    made.options.insert(
        made.options.end(),
        {{"highlights", "auto", "strip or keep them in the text; auto is as the protocol says"},
         {"bucket", "words", "small, medium and large by words; \"file\": as the data say"},
         {"small", "470", "most words of a small story"},
         {"large", "790", "least words of a large one"},
         {"per_bucket", "0", "the first stories of each bucket; 0 = all"},
         {"stem", "true", "ROUGE over stems (true or false)"}});
    return made;
  }

  void set_measure(const TextMeasure& measure) override { writer_.set_measure(measure); }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    writer_.configure("summarization", options);
    const auto one_of = [&](const char* name, const std::set<std::string>& known) {
      const std::string& value = options.text(name);
      check(known.count(value) == 1, "evaluate", "summarization:", name, " is ",
            c10::Join(" or ", known), ". Got '", value, "'.");
      return value;
    };
    highlights_ = one_of("highlights", {"auto", "keep", "strip"});
    stem_ = one_of("stem", {"false", "true"}) == "true";
    const bool by_words = one_of("bucket", {"file", "words"}) == "words";
    const int64_t small = options.whole("small"), large = options.whole("large");
    check(small < large, "evaluate", "summarization:small is below large. Got ", small, " and ",
          large, ".");
    const int64_t most = options.whole("per_bucket");
    std::set<std::string> seen;
    std::map<std::string, int64_t> sizes;
    std::vector<TaskItem> items;
    duplicates_ = 0;
    for (const Story& story : read_stories(path)) {
      // LLM-KICK's buckets share files; a story counts once, where it comes first.
      if (!seen.insert(sha256(story.glued)).second) {
        ++duplicates_;
        continue;
      }
      const int64_t words = word_count(story.body);
      const std::string bucket = !by_words        ? story.bucket
                                 : words <= small ? "small"
                                 : words < large  ? "medium"
                                                  : "large";
      if (most > 0 && ++sizes[bucket] > most) continue;
      items.push_back(make_item(story, bucket));
    }
    return items;
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    if (!outputs.empty()) return {};
    const ChatRequest asked = ask(item, protocol);
    if (!asked.fits) return {};
    return {TaskRequest::generate(asked.generation)};
  }

  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    // What could not be asked is an empty summary.
    const Generation answer = outputs.empty() ? Generation{"", 0, "", {}} : outputs[0].generation;
    const std::string text(strip_white_space(answer.text));
    ItemScore made{item.id, item.category, text, "", {}};
    made.flags = ChatWriter::flags(ask(item, protocol), answer);
    if (text.empty()) made.flags.push_back("empty");
    add_answer_values({text}, outputs, made.values);
    auto& values = made.values;
    const std::string& source = item.text("source");
    values["under_150_words"] = values["words"] < 150 ? 1 : 0;
    values["length_ratio"] = values["words"] / static_cast<double>(word_count(source));
    values["novel_2"] = novel_ngrams(text, source, 2).value_or(0);
    if (item.fields.count("reference")) {
      made.gold = item.list("reference").front();
      const Rouge scores = rouge(item.list("reference"), text, stem_);
      values["rouge1"] = scores.rouge1.f1;
      values["rouge2"] = scores.rouge2.f1;
      values["rougeL"] = scores.rougeL.f1;
      values["rougeLsum"] = scores.rougeLsum.f1;
    }
    if (item.fields.count("facts")) {
      double told = 0;
      for (const auto& fact : item.list("facts")) {
        const auto alternatives = parse_json(fact, "facts", false);
        told += tells(text, alternatives.get<std::vector<std::string>>()) ? 1 : 0;
      }
      values["facts"] = told / static_cast<double>(item.list("facts").size());
    }
    return made;
  }

  std::map<std::string, double> aggregate(const std::vector<ItemScore>& scores,
                                          const std::string&) const override {
    auto metrics = mean_metrics(scores);
    if (duplicates_ > 0) metrics["duplicates_removed"] = static_cast<double>(duplicates_);
    return metrics;
  }

 private:
  // The two texts that a protocol may ask with, each an instruction, an empty line and a story.
  TaskItem make_item(const Story& story, const std::string& bucket) const {
    const bool small = bucket == "small";
    TaskItem item{story.id, bucket};
    std::string lines = story.body;
    if (highlights_ == "keep") {
      for (const auto& highlight : story.highlights) lines += "\n" + highlight;
    }
    const std::string published =
        story.instruction.empty() ? instruction_for(small ? "story" : "news") : story.instruction;
    std::string glued = story.glued;
    if (highlights_ != "strip") glued += story.glued_highlights;
    item.fields["source"] = {story.body};
    item.fields["turns"] = {instruction_for("news") + "\n\n" + lines};
    item.fields["published_turns"] = {published + "\n\n" + glued};
    if (!story.references.empty()) item.fields["reference"] = story.references;
    for (const auto& fact : story.facts) item.fields["facts"].push_back(dump_json(Json(fact)));
    return item;
  }

  ChatRequest ask(const TaskItem& item, const std::string& protocol) const {
    const bool paper = protocol == "paper";
    const std::string& message = item.text(paper ? "published_turns" : "turns");
    if (paper) return writer_.as_it_is({{"user", message}}, writer_.temperature(0.7));
    const std::size_t text = message.find("\n\n") + 2;
    return writer_.cut_to_fit({{"user", message}}, {{0, text}}, writer_.temperature(0));
  }

  ChatWriter writer_;
  std::string highlights_;
  bool stem_ = true;
  int64_t duplicates_ = 0;
};

}  // namespace

std::shared_ptr<Task> summarization() { return std::make_shared<SummarizationTask>(); }

}  // namespace cupel
