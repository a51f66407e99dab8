// Multiple choice from a JSONL file: {"context": ..., "choices": [...], "answer": index} a line,
// "id" and "category" if wanted. The choice whose text is likeliest after the context wins; ties go
// to the earlier one.
#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "eval/tasks/jsonl_items.h"
#include "eval/text_measure.h"

namespace cupel {

namespace {

bool starts_with_space(const std::string& text) {
  return !text.empty() && (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'));
}

class MultipleChoice : public Task {
 public:
  TaskInfo info() const override {
    return {
        .name = "multiple_choice",
        .description = "the likeliest of several texts after a context, from a JSONL file",
        .options = {{"delimiter", " ", "put before a choice that does not start with white space"}},
        .data = "multiple_choice.jsonl"};
  }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    const std::string& delimiter = options.text("delimiter");
    return read_jsonl_items(path, [&](const JsonlRecord& record, TaskItem& item) {
      item.fields["context"] = {record.text("context")};
      std::vector<std::string> choices = record.texts("choices");
      const auto count = static_cast<int64_t>(choices.size());
      if (count < 2) record.fail(c10::str("there are at least 2 choices. Got ", count, "."));
      item.fields["choices"] = choices;
      for (auto& choice : choices) {
        if (choice.empty()) record.fail("a choice is not empty.");
        if (!starts_with_space(choice)) choice = delimiter + choice;
      }
      item.fields["continuations"] = choices;
      const int64_t answer = record.whole("answer");
      if (answer < 0 || answer >= count) {
        record.fail(
            c10::str("the answer is an index from 0 to ", count - 1, ". Got ", answer, "."));
      }
      item.fields["answer"] = {std::to_string(answer)};
    });
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string&,
                                    const std::vector<TaskOutput>& outputs) const override {
    std::vector<TaskRequest> requests;
    if (!outputs.empty()) return requests;
    for (const auto& continuation : item.list("continuations")) {
      requests.push_back(TaskRequest::log_likelihood(item.text("context"), continuation));
    }
    return requests;
  }

  ItemScore score(const TaskItem& item, const std::string&,
                  const std::vector<TaskOutput>& outputs) const override {
    const auto& choices = item.list("choices");
    const auto best = [&](const auto& size) {
      std::vector<double> scores;
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        scores.push_back(outputs[i].likelihood.value / size(choices[i]));
      }
      return std::max_element(scores.begin(), scores.end()) - scores.begin();
    };
    const int64_t answer = std::stoll(item.text("answer"));
    const auto plain = best([](const std::string&) { return 1.0; });
    const auto by_character = best(characters);
    const auto by_byte =
        best([](const std::string& text) { return static_cast<double>(text.size()); });
    return {item.id,
            item.category,
            choices[plain],
            choices[answer],
            {{"accuracy", plain == answer ? 1.0 : 0.0},
             {"acc_norm", by_character == answer ? 1.0 : 0.0},
             {"acc_bytes", by_byte == answer ? 1.0 : 0.0}}};
  }
};

}  // namespace

std::shared_ptr<Task> multiple_choice() { return std::make_shared<MultipleChoice>(); }

}  // namespace cupel
