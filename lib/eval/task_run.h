#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cupel/eval/evaluate.h"
#include "eval/task_spec.h"

namespace cupel {

/// Where a run stands, for whoever reports it.
struct RunStatus {
  std::string task;
  int64_t done = 0, total = 0;  ///< items
};

/// One task of an evaluation: first its plan, then its scores.
class Run {
 public:
  virtual ~Run() = default;
  virtual const std::string& key() const = 0;
  virtual const RunManifest& manifest() const = 0;
  /// Scores what `record` does not hold, writes it there, and puts everything into `result`.
  virtual void score(RunRecord& record, RunStatus& status, const std::function<void()>& report,
                     EvalResult& result) = 0;
};

/// Reads the task's data. The fields of `manifest` that all tasks share are set.
std::unique_ptr<Run> make_task_run(Scorer& scorer, TaskSpec spec, const EvaluateOptions& options,
                                   RunManifest manifest);

/// A perplexity; `model` and `tokenizer` must outlive it.
std::unique_ptr<Run> make_perplexity_run(TokenModel& model, const TokenModelInfo& info,
                                         const Tokenizer& tokenizer, TaskSpec spec,
                                         const EvaluateOptions& options, RunManifest manifest);

/// Reads the recorded batches with `read`, then scores the others with `score` and writes and reads
/// them too: a line's way into the result is the same whether it was recorded or made now.
void run_batches(RunRecord& record, int64_t batches,
                 const std::function<std::vector<std::string>(int64_t batch)>& score,
                 const std::function<void(int64_t batch, const std::vector<std::string>&)>& read);

}  // namespace cupel
