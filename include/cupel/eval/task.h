#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cupel/core/registry.h"
#include "cupel/eval/scorer.h"

namespace cupel {

/// One question of a task.
struct TaskItem {
  std::string id;        ///< unique within the task
  std::string category;  ///< subject, or ""
  std::map<std::string, std::vector<std::string>> fields = {};

  /// The only value of a field; std::invalid_argument when there is none, or several.
  const std::string& text(const std::string& field) const;
  /// Every value of a field; std::invalid_argument for an unknown one.
  const std::vector<std::string>& list(const std::string& field) const;
};

/// What a task asks of a scorer.
struct TaskRequest {
  enum class Kind { log_likelihood, rolling, generate };
  Kind kind = Kind::log_likelihood;
  std::string context = {}, continuation = {};  ///< log_likelihood
  std::string text = {};                        ///< rolling
  GenerationRequest generation = {};            ///< generate; evaluate() sets its seed

  static TaskRequest log_likelihood(std::string context, std::string continuation);
  static TaskRequest rolling(std::string text);
  static TaskRequest generate(GenerationRequest generation);
};

/// The answer to one request: the member that its kind fills.
struct TaskOutput {
  LogLikelihood likelihood = {};  ///< log_likelihood, rolling
  Generation generation = {};     ///< generate
};

/// How an item went by one protocol.
struct ItemScore {
  std::string id, category;
  std::string prediction, gold;          ///< as the protocol reads them
  std::map<std::string, double> values;  ///< finite, e.g. {"accuracy", 1.0}
  std::vector<std::string> flags = {};   ///< what was out of the ordinary ("empty", "invalid")
};

/// An option of a task: "task:name=value".
struct TaskOption {
  std::string name, value, help;  ///< value: the default
};

/// The options of one run, every one that the task declares, defaults filled in.
class TaskOptions {
 public:
  TaskOptions() = default;
  TaskOptions(std::string task, std::map<std::string, std::string> values)
      : task_(std::move(task)), values_(std::move(values)) {}

  const std::string& text(const std::string& name) const;
  /// A whole number from `least`; std::invalid_argument naming task and option otherwise.
  int64_t whole(const std::string& name, int64_t least = 0) const;
  double real(const std::string& name) const;
  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  std::string task_;
  std::map<std::string, std::string> values_;
};

struct TaskInfo {
  std::string name;
  std::string version = "1";  ///< changes when the same file gives other requests or scores
  std::string description = "";
  std::vector<std::string> protocols = {"strict"};
  std::vector<TaskOption> options = {};  ///< "file" and "protocols" exist for every task
  std::string data = "";                 ///< default file or folder below EvaluateOptions::data
};

/// Data -> requests -> scores. A task sees text only, never a model.
///
/// evaluate() makes one object a run, calls set_measure() and load() once, then requests() and
/// score() for each item and protocol. These must depend on their arguments, on load() and on the
/// measure alone: items run in batches, and after an interruption only those that are left.
class Task {
 public:
  virtual ~Task() = default;
  virtual TaskInfo info() const = 0;

  /// How long texts are to the scorer, for a task whose prompts depend on it (shots that are dropped
  /// until a prompt fits). Comes before load().
  virtual void set_measure(const TextMeasure&) {}

  /// The items of `path`, a file or folder, in the order in which they run. FormatError naming file
  /// and line for bad data.
  virtual std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) = 0;

  /// What is asked next, given the outputs of all that was asked before: none ends the item. A
  /// second call serves second turns, or a shorter prompt after one that did not fit. Requests that
  /// are equal in several protocols of an item run once.
  virtual std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                            const std::vector<TaskOutput>& outputs) const = 0;

  /// The score of an item from all of its outputs, in the order of its requests. Flags of the
  /// outputs are added by evaluate().
  virtual ItemScore score(const TaskItem& item, const std::string& protocol,
                          const std::vector<TaskOutput>& outputs) const = 0;

  /// Metrics of a run, finite; by default mean_metrics().
  virtual std::map<std::string, double> aggregate(const std::vector<ItemScore>& scores,
                                                  const std::string& protocol) const;
};

/// The mean of each value under its name; "items", their number; "flag_NAME", items with that flag;
/// and, where there are categories, "VALUE/CATEGORY" and "items/CATEGORY". A value that some items
/// lack is averaged over those that have it, whose number is "items_with_VALUE".
std::map<std::string, double> mean_metrics(const std::vector<ItemScore>& scores);

/// Seed of an item's request, so that part of a run repeats the whole one: the first 8 bytes, big
/// end first, of the SHA-256 of "seed|task|item|request", `request` counted within the item.
uint64_t item_seed(uint64_t seed, const std::string& task, const std::string& item,
                   int64_t request);

/// Makes a task for one run.
using TaskFactory = std::function<std::shared_ptr<Task>()>;

/// All tasks by name; add yours here.
Registry<TaskFactory>& tasks();

#define CUPEL_TASK(function) std::shared_ptr<Task> function();
#include "cupel/eval/tasks.def"
#undef CUPEL_TASK

}  // namespace cupel
