#include "cupel/eval/evaluate.h"

#include <chrono>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/model/model.h"
#include "cupel/version.h"
#include "eval/task_run.h"

namespace cupel {

namespace {

// Tells the progress function where the run stands, whoever asks.
struct Reporter {
  explicit Reporter(const ProgressFunction& function) : reporter(function) {}

  void report() const {
    reporter.report(
        {.stage = "score", .name = status.task, .done = status.done, .total = status.total});
  }

  ProgressReporter reporter;
  RunStatus status;
};

EvalResult run_all(Scorer& scorer, TokenModel* model, const Tokenizer* tokenizer,
                   const std::vector<std::string>& texts, const EvaluateOptions& options,
                   Reporter& reporter) {
  const auto start = std::chrono::steady_clock::now();
  check(options.limit >= 0, "evaluate", "limit is at least 0. Got ", options.limit, ".");
  check(!options.resume || !options.record.empty(), "evaluate",
        "resume needs the record folder of the run to go on with.");
  std::vector<TaskSpec> specs = parse_tasks(texts);
  const ScorerInfo info = scorer.info();
  EvalResult result;
  result.model = info.model;
  result.tokenizer = info.tokenizer;
  result.settings = info.settings;
  RunManifest common{.cupel = CUPEL_VERSION,
                     .tokenizer = info.tokenizer,
                     .model = info.model.fingerprint,
                     .dtype = info.model.dtype,
                     .device = info.model.device,
                     .vocabulary = info.model.vocabulary,
                     .seed = options.seed,
                     .limit = options.limit};
  std::vector<std::unique_ptr<Run>> runs;
  for (auto& spec : specs) {
    if (spec.name == "perplexity") {
      check(model && tokenizer, "evaluate",
            "perplexity works on tokens and takes a model or a ModelScorer; other scorers see text "
            "only.");
      runs.push_back(
          make_perplexity_run(*model, info.model, *tokenizer, std::move(spec), options, common));
    } else {
      common.scorer = info.settings;
      runs.push_back(make_task_run(scorer, std::move(spec), options, common));
      common.scorer = {};
    }
  }
  std::vector<RunRecord> records(runs.size());
  for (std::size_t i = 0; i < runs.size() && !options.record.empty(); ++i) {
    const std::string path = options.record + "/" + record_file_name(runs[i]->key());
    records[i] = RunRecord(path, runs[i]->manifest(), options.resume);
    if (!records[i].environment_change().empty()) {
      result.run.notes.push_back(c10::str(runs[i]->key(), ": the record was begun with ",
                                          records[i].environment_change(), "."));
    }
    result.run.dropped_lines += records[i].dropped_lines();
  }
  const ScorerCounts before = scorer.counts();
  const std::function<void()> report = [&] { reporter.report(); };
  const WorkScope working(report);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    result.manifests[runs[i]->key()] = runs[i]->manifest();
    reporter.status = {runs[i]->key(), 0, runs[i]->manifest().items};
    report();
    runs[i]->score(records[i], reporter.status, report, result);
    report();
  }
  result.run.tokens_run = scorer.counts().run - before.run;
  result.run.tokens_shared = scorer.counts().shared - before.shared;
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  result.run.seconds = passed.count();
  return result;
}

}  // namespace

void run_batches(RunRecord& record, int64_t batches,
                 const std::function<std::vector<std::string>(int64_t)>& score,
                 const std::function<void(int64_t, const std::vector<std::string>&)>& read) {
  const auto& recorded = record.recorded();
  const auto there = static_cast<int64_t>(recorded.size());
  if (there > batches) {
    throw FormatError(record.path(), "",
                      c10::str("the run has ", batches, " batches, the record ", there, "."));
  }
  for (int64_t batch = 0; batch < batches; ++batch) {
    if (batch < there) {
      read(batch, recorded[batch]);
      continue;
    }
    const std::vector<std::string> lines = score(batch);
    record.append(lines);
    read(batch, lines);
  }
}

EvalResult evaluate(TokenModel& model, const Tokenizer& tokenizer,
                    const std::vector<std::string>& tasks, const EvaluateOptions& options) {
  Reporter reporter(options.progress);
  ScorerOptions settings = options.scorer;
  if (options.progress && !settings.progress) {
    settings.progress = [&](const Progress&) {  // items of a task say more than requests of a call
      reporter.report();
      return true;
    };
  }
  ModelScorer scorer(model, tokenizer, settings);
  return run_all(scorer, &model, &tokenizer, tasks, options, reporter);
}

EvalResult evaluate(const Model& model, const Tokenizer& tokenizer,
                    const std::vector<std::string>& tasks, const EvaluateOptions& options) {
  NativeTokenModel native(model);
  return evaluate(native, tokenizer, tasks, options);
}

EvalResult evaluate(Scorer& scorer, const std::vector<std::string>& tasks,
                    const EvaluateOptions& options) {
  Reporter reporter(options.progress);
  auto* engine = dynamic_cast<ModelScorer*>(&scorer);
  if (!engine) return run_all(scorer, nullptr, nullptr, tasks, options, reporter);
  EvaluateOptions own = options;  // a perplexity follows the scorer's rule for BOS
  own.scorer.bos = engine->bos();
  return run_all(scorer, &engine->model(), &engine->tokenizer(), tasks, own, reporter);
}

}  // namespace cupel
