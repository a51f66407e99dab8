// Open questions from a JSONL file: {"prompt": ..., "answers": [...]} a line, "id" and "category"
// if wanted. What the model writes counts as exact when it is one of the answers once the white
// space around both is gone, as a substring when it holds one. Without "answers" the text is only
// recorded.
#include <algorithm>

#include "cupel/core/check.h"
#include "eval/tasks/jsonl_items.h"

namespace cupel {

namespace {

std::string strip(const std::string& text) {
  const char* space = " \t\n\v\f\r";
  const auto begin = text.find_first_not_of(space);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

// Python's way to write line ends and tabs, for stop strings given on a command line.
std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] != '\\' || (next != 'n' && next != 't' && next != '\\')) {
      plain += text[i];
      continue;
    }
    plain += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
    ++i;
  }
  return plain;
}

class GenerationTask : public Task {
 public:
  TaskInfo info() const override {
    return {.name = "generation",
            .description = "open questions from a JSONL file, by exact match and substring",
            .options = {{"max_new_tokens", "64", "most tokens of an answer"},
                        {"stop", "", "the answer ends before this text; \\n is a line end"},
                        {"temperature", "0", "0 = greedy"}},
            .data = "generation.jsonl"};
  }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    request_.max_new_tokens = options.whole("max_new_tokens", 1);
    request_.temperature = options.real("temperature");
    check(request_.temperature >= 0, "evaluate", "generation:temperature is at least 0. Got ",
          request_.temperature, ".");
    if (!options.text("stop").empty()) request_.stop = {unescape(options.text("stop"))};
    return read_jsonl_items(path, [](const JsonlRecord& record, TaskItem& item) {
      item.fields["prompt"] = {record.text("prompt")};
      if (!record.has("answers")) return;
      item.fields["answers"] = record.texts("answers");
      for (const auto& answer : item.fields["answers"]) {
        if (strip(answer).empty()) record.fail("an answer is more than white space.");
      }
      if (item.fields["answers"].empty()) record.fail("\"answers\" holds at least one.");
    });
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string&,
                                    const std::vector<TaskOutput>& outputs) const override {
    if (!outputs.empty()) return {};
    GenerationRequest request = request_;
    request.prompt = item.text("prompt");
    return {TaskRequest::generate(request)};
  }

  ItemScore score(const TaskItem& item, const std::string&,
                  const std::vector<TaskOutput>& outputs) const override {
    const std::string text = strip(outputs.at(0).generation.text);
    ItemScore score{item.id, item.category, text, "", {}};
    if (item.fields.count("answers") == 0) return score;
    const auto& answers = item.list("answers");
    const auto any = [&](const auto& matches) {
      return std::any_of(answers.begin(), answers.end(), matches) ? 1.0 : 0.0;
    };
    score.gold = strip(answers.front());
    score.values["exact"] = any([&](const std::string& answer) { return strip(answer) == text; });
    score.values["substring"] = any(
        [&](const std::string& answer) { return text.find(strip(answer)) != std::string::npos; });
    return score;
  }

 private:
  GenerationRequest request_;
};

}  // namespace

std::shared_ptr<Task> generation() { return std::make_shared<GenerationTask>(); }

}  // namespace cupel
