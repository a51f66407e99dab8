#pragma once

#include <map>
#include <string>
#include <vector>

#include "cupel/core/progress.h"
#include "cupel/eval/perplexity.h"
#include "cupel/eval/token_model.h"
#include "cupel/text/tokenizer.h"

namespace cupel {

class Model;

struct EvaluateOptions {
  std::string data = "";          ///< folder of data sets: DATA/wikitext2/wiki.test.raw, ...
  std::string text = "";          ///< text for "perplexity" when the task names no file
  int64_t length = 0;             ///< perplexity window; 0 = min(2048, the model's positions)
  std::string protocol = "gptq";  ///< perplexity protocol
  ProgressFunction progress = {};
};

/// Task -> protocol -> metric -> value.
using Metrics = std::map<std::string, std::map<std::string, std::map<std::string, double>>>;

/// The outcome of an evaluation, with its provenance.
struct Scores {
  TokenModelInfo model;
  std::string tokenizer;                           ///< fingerprint
  Metrics metrics;                                 ///< metrics["perplexity"]["gptq"]["perplexity"]
  std::map<std::string, Perplexity> perplexities;  ///< task -> everything about it

  std::string to_json() const;
  /// Reads what to_json() wrote. FormatError naming `file` and field.
  static Scores from_json(const std::string& text, const std::string& file);
};

/// Runs tasks, each "name" or "name:key=value,key=value" ("perplexity:file=wiki.test.raw,
/// length=2048"). Tasks: perplexity. std::invalid_argument for an unknown task or key.
Scores evaluate(TokenModel& model, const Tokenizer& tokenizer,
                const std::vector<std::string>& tasks, const EvaluateOptions& options = {});
Scores evaluate(const Model& model, const Tokenizer& tokenizer,
                const std::vector<std::string>& tasks, const EvaluateOptions& options = {});

}  // namespace cupel
