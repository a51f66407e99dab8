#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/perplexity.h"
#include "cupel/eval/run_record.h"
#include "cupel/eval/scorer.h"
#include "cupel/eval/task.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

class Model;

struct EvaluateOptions {
  std::string data = "";          ///< folder of data sets: DATA/wikitext2/wiki.test.raw, ...
  std::string text = "";          ///< text for "perplexity" when the task names no file
  int64_t length = 0;             ///< perplexity window; 0 = as PerplexityOptions::length
  std::string protocol = "gptq";  ///< perplexity protocol
  int64_t stride = 0;             ///< of the perplexity protocol "strided"
  int64_t limit = 0;              ///< the first items of each task; 0 = all
  std::string record = "";        ///< folder for a RunRecord of each task; "" = none
  bool resume = false;            ///< go on with the records that are there
  uint64_t seed = 0;              ///< of sampling, see item_seed()
  ScorerOptions scorer = {};      ///< where evaluate() makes the scorer
  ProgressFunction progress = {};
};

/// Task -> protocol -> metric -> value.
using Metrics = std::map<std::string, std::map<std::string, std::map<std::string, double>>>;

/// What this process did for an EvalResult: no part of what is compared or repeated.
struct EvalRun {
  double seconds = 0;
  int64_t tokens_run = 0, tokens_shared = 0;  ///< ScorerCounts of the tasks
  int64_t items_recorded = 0;                 ///< items that records held already
  int64_t dropped_lines = 0;                  ///< of half-written batches in them, run again
  std::vector<std::string> notes = {};
};

/// The outcome of an evaluation, with its provenance. A task stands under its name, or under its
/// whole text ("perplexity:length=256") when the name was given several times.
struct EvalResult {
  TokenModelInfo model;
  std::string tokenizer;                           ///< fingerprint
  std::map<std::string, std::string> settings;     ///< of the scorer
  Metrics metrics;                                 ///< metrics["mmlu"]["strict"]["accuracy"]
  std::map<std::string, Perplexity> perplexities;  ///< task -> everything about it
  std::map<std::string, std::map<std::string, std::vector<ItemScore>>> items;  ///< task -> protocol
  std::map<std::string, RunManifest> manifests;  ///< task -> how it ran
  EvalRun run;

  std::string to_json() const;
  /// Reads what to_json() wrote. FormatError naming `file` and field.
  static EvalResult from_json(const std::string& text, const std::string& file);
  /// A table of the metrics over all items of each task.
  std::string to_markdown() const;
};

/// Runs tasks, each "name" or "name:key=value,key=value" ("perplexity:file=wiki.test.raw,
/// length=2048"): perplexity (file, length, protocol, stride) and those of tasks(), whose options
/// are their own and "file" (their data) and "protocols" (some of theirs, joined by "+").
///
/// With a record folder each task writes a RunRecord, task by task and batch by batch, so that a run
/// that ended at any moment goes on with `resume`; the result is then the same but for `run` and
/// seconds. Data of every task are read before the first one runs. std::invalid_argument for an
/// unknown task, key or protocol; FormatError for bad data; NumericalError naming task and item when
/// a score is not finite.
EvalResult evaluate(TokenModel& model, const Tokenizer& tokenizer,
                    const std::vector<std::string>& tasks, const EvaluateOptions& options = {});
EvalResult evaluate(const Model& model, const Tokenizer& tokenizer,
                    const std::vector<std::string>& tasks, const EvaluateOptions& options = {});

/// The same with a scorer of your own; EvaluateOptions::scorer is left aside. Perplexity works on
/// tokens and takes a ModelScorer.
EvalResult evaluate(Scorer& scorer, const std::vector<std::string>& tasks,
                    const EvaluateOptions& options = {});

}  // namespace cupel
