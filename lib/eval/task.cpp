#include "cupel/eval/task.h"

#include <charconv>
#include <cmath>

#include "cupel/core/check.h"
#include "cupel/core/file.h"

namespace cupel {

const std::vector<std::string>& TaskItem::list(const std::string& field) const {
  const auto found = fields.find(field);
  if (found == fields.end()) {
    std::string known;
    for (const auto& [name, values] : fields) known += (known.empty() ? "" : ", ") + name;
    check(false, "TaskItem", "item '", id, "' has the fields ", known, ". Got '", field, "'.");
  }
  return found->second;
}

const std::string& TaskItem::text(const std::string& field) const {
  const auto& values = list(field);
  check(values.size() == 1, "TaskItem", "text() reads a field of one value. Got ", values.size(),
        " in '", field, "' of item '", id, "'.");
  return values.front();
}

TaskRequest TaskRequest::log_likelihood(std::string context, std::string continuation) {
  TaskRequest request;
  request.context = std::move(context);
  request.continuation = std::move(continuation);
  return request;
}

TaskRequest TaskRequest::rolling(std::string text) {
  TaskRequest request;
  request.kind = Kind::rolling;
  request.text = std::move(text);
  return request;
}

TaskRequest TaskRequest::generate(GenerationRequest generation) {
  TaskRequest request;
  request.kind = Kind::generate;
  request.generation = std::move(generation);
  return request;
}

const std::string& TaskOptions::text(const std::string& name) const {
  const auto found = values_.find(name);
  check(found != values_.end(), "TaskOptions", "task ", task_, " declares no option '", name, "'.");
  return found->second;
}

int64_t TaskOptions::whole(const std::string& name, int64_t least) const {
  const std::string& value = text(name);
  int64_t number = 0;
  const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
  check(read.ec == std::errc() && read.ptr == value.data() + value.size() && number >= least,
        "evaluate", task_, ":", name, " is a whole number from ", least, ". Got '", value, "'.");
  return number;
}

double TaskOptions::real(const std::string& name) const {
  const std::string& value = text(name);
  double number = 0;
  const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
  check(read.ec == std::errc() && read.ptr == value.data() + value.size() && std::isfinite(number),
        "evaluate", task_, ":", name, " is a number. Got '", value, "'.");
  return number;
}

std::map<std::string, double> Task::aggregate(const std::vector<ItemScore>& scores,
                                              const std::string&) const {
  return mean_metrics(scores);
}

std::map<std::string, double> mean_metrics(const std::vector<ItemScore>& scores) {
  struct Mean {
    double sum = 0;
    int64_t items = 0;
  };
  std::map<std::string, Mean> means;
  std::map<std::string, double> metrics;
  metrics["items"] = static_cast<double>(scores.size());
  for (const auto& score : scores) {
    if (!score.category.empty()) metrics["items/" + score.category] += 1;
    for (const auto& flag : score.flags) metrics["flag_" + flag] += 1;
    for (const auto& [name, value] : score.values) {
      const auto add = [&, value = value](const std::string& key) {
        means[key].sum += value;
        ++means[key].items;
      };
      add(name);
      if (!score.category.empty()) add(name + "/" + score.category);
    }
  }
  for (const auto& [name, mean] : means) {
    metrics[name] = mean.sum / static_cast<double>(mean.items);
    const bool whole = name.find('/') == std::string::npos;
    if (whole && mean.items < static_cast<int64_t>(scores.size())) {
      metrics["items_with_" + name] = static_cast<double>(mean.items);
    }
  }
  return metrics;
}

uint64_t item_seed(uint64_t seed, const std::string& task, const std::string& item,
                   int64_t request) {
  const std::string digest = sha256(c10::str(seed, "|", task, "|", item, "|", request));
  return std::stoull(digest.substr(0, 16), nullptr, 16);
}

Registry<TaskFactory>& tasks() {
  // Never destroyed: an entry may hold a Python class, and the interpreter ends first.
  static auto* registry = [] {
    auto* known = new Registry<TaskFactory>("task");
#define CUPEL_TASK(function) known->add(#function, [] { return function(); });
#include "cupel/eval/tasks.def"
#undef CUPEL_TASK
    return known;
  }();
  return *registry;
}

}  // namespace cupel
