#include "cupel/eval/evaluate.h"

#include <charconv>
#include <set>
#include <utility>

#include "cupel/core/check.h"
#include "cupel/model/model.h"

namespace cupel {

namespace {

// "perplexity:file=a.txt,length=256" -> name and options.
struct TaskSpec {
  std::string name;
  std::map<std::string, std::string> options;
};

TaskSpec parse_task(const std::string& text) {
  const std::size_t colon = text.find(':');
  TaskSpec spec{text.substr(0, colon), {}};
  for (std::size_t begin = colon; begin != std::string::npos;) {
    const std::size_t end = text.find(',', begin + 1);
    const std::string part =
        text.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const std::size_t equals = part.find('=');
    check(equals != std::string::npos && equals > 0, "evaluate",
          "a task is name or name:key=value,key=value. Got '", text, "'.");
    const bool fresh = spec.options.emplace(part.substr(0, equals), part.substr(equals + 1)).second;
    check(fresh, "evaluate", "a task option stands once. Got '", text, "'.");
    begin = end;
  }
  return spec;
}

int64_t parse_length(const std::string& text) {
  int64_t value = -1;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  check(read.ec == std::errc() && read.ptr == text.data() + text.size() && value >= 0, "evaluate",
        "length is a number of tokens. Got '", text, "'.");
  return value;
}

// A perplexity as it will be measured; every option is read before the first forward.
struct PerplexityRun {
  std::string file;
  PerplexityOptions options;
};

PerplexityRun parse_perplexity(const TaskSpec& spec, const EvaluateOptions& options) {
  PerplexityRun run{
      options.text,
      {.length = options.length, .protocol = options.protocol, .progress = options.progress}};
  for (const auto& [key, value] : spec.options) {
    if (key == "file") {
      run.file = value;
    } else if (key == "length") {
      run.options.length = parse_length(value);
    } else if (key == "protocol") {
      run.options.protocol = value;
    } else {
      check(false, "evaluate", "perplexity knows file, length and protocol. Got '", key, "'.");
    }
  }
  if (run.file.empty() && !options.data.empty()) {
    run.file = options.data + "/wikitext2/wiki.test.raw";
  }
  check(!run.file.empty(), "evaluate",
        "perplexity needs a text: perplexity:file=FILE, or the options text or data.");
  return run;
}

}  // namespace

Scores evaluate(TokenModel& model, const Tokenizer& tokenizer,
                const std::vector<std::string>& tasks, const EvaluateOptions& options) {
  check(!tasks.empty(), "evaluate", "at least one task is needed; there is: perplexity.");
  std::vector<std::pair<std::string, PerplexityRun>> runs;
  std::set<std::string> names;
  for (const auto& text : tasks) {
    const TaskSpec spec = parse_task(text);
    check(spec.name == "perplexity", "evaluate", "unknown task '", spec.name,
          "'; known: perplexity.");
    const std::string task = tasks.size() == 1 ? spec.name : text;
    check(names.insert(task).second, "evaluate", "a task stands once. Got '", task, "'.");
    runs.emplace_back(task, parse_perplexity(spec, options));
  }
  Scores scores;
  scores.model = model.info();
  scores.tokenizer = tokenizer.fingerprint();
  for (const auto& [task, run] : runs) {
    const Perplexity made = perplexity(model, tokenizer, run.file, run.options);
    scores.metrics[task][made.protocol] = {{"perplexity", made.value},
                                           {"loss", made.loss},
                                           {"windows", static_cast<double>(made.windows)},
                                           {"scored_tokens", static_cast<double>(made.scored)},
                                           {"dropped_tokens", static_cast<double>(made.dropped)}};
    scores.perplexities[task] = made;
  }
  return scores;
}

Scores evaluate(const Model& model, const Tokenizer& tokenizer,
                const std::vector<std::string>& tasks, const EvaluateOptions& options) {
  NativeTokenModel native(model);
  return evaluate(native, tokenizer, tasks, options);
}

}  // namespace cupel
