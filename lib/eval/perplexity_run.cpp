#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "eval/perplexity_plan.h"
#include "eval/task_run.h"

namespace cupel {

namespace {

PerplexityOptions read_options(const TaskSpec& spec, const EvaluateOptions& options) {
  const TaskInfo known{.name = "perplexity",
                       .options = {{"length", std::to_string(options.length), ""},
                                   {"stride", std::to_string(options.stride), ""},
                                   {"protocol", options.protocol, ""},
                                   {"bos", options.scorer.bos, ""}}};
  const TaskOptions filled = fill_options(spec, known);
  return {.length = filled.whole("length"),
          .protocol = filled.text("protocol"),
          .stride = filled.whole("stride"),
          .bos = filled.text("bos")};
}

// The plan of the first `limit` blocks. What is left out is counted in a note.
void cut(PerplexityPlan& plan, int64_t limit) {
  const auto blocks = static_cast<int64_t>(plan.blocks.size());
  if (limit == 0 || limit >= blocks) return;
  plan.blocks.resize(limit);
  std::erase_if(plan.windows,
                [&](const PerplexityWindow& window) { return window.block >= limit; });
  plan.result.windows = static_cast<int64_t>(plan.windows.size());
  const int64_t all = std::exchange(plan.result.scored, 0);
  for (const auto& window : plan.windows) plan.result.scored += window.tokens - window.first;
  std::erase_if(plan.batches, [&](PerplexityBatch& batch) {
    batch.end = std::min(batch.end, plan.result.windows);
    return batch.begin >= batch.end;
  });
  plan.result.notes.push_back(c10::str("The first ", limit, " of ", blocks, " blocks ran: ",
                                       all - plan.result.scored, " tokens were not scored."));
}

class PerplexityRun : public Run {
 public:
  PerplexityRun(TokenModel& model, const TokenModelInfo& info, const Tokenizer& tokenizer,
                TaskSpec spec, const EvaluateOptions& options, RunManifest manifest);

  const std::string& key() const override { return spec_.key; }
  const RunManifest& manifest() const override { return manifest_; }
  void score(RunRecord& record, RunStatus& status, const std::function<void()>& report,
             EvalResult& result) override;

 private:
  Perplexity finish(const std::vector<BlockSum>& sums) const;

  TokenModel& model_;
  TaskSpec spec_;
  RunManifest manifest_;
  PerplexityPlan plan_;
  bool limited_ = false;
};

PerplexityRun::PerplexityRun(TokenModel& model, const TokenModelInfo& info,
                             const Tokenizer& tokenizer, TaskSpec spec,
                             const EvaluateOptions& options, RunManifest manifest)
    : model_(model), spec_(std::move(spec)), manifest_(std::move(manifest)) {
  std::string path = take_path(spec_, "", "");
  if (path.empty()) path = options.text;
  if (path.empty()) path = take_path(spec_, options.data, "wikitext2/wiki.test.raw");
  check(!path.empty(), "evaluate",
        "perplexity needs a text: perplexity:file=FILE, or the options text or data.");
  plan_ = plan_perplexity(info, tokenizer, path, read_options(spec_, options));
  const auto blocks = plan_.blocks.size();
  cut(plan_, options.limit);
  limited_ = plan_.blocks.size() < blocks;
  const Perplexity& known = plan_.result;
  manifest_.task = "perplexity";
  manifest_.task_version = "1";
  manifest_.protocols = {known.protocol};
  manifest_.options = {{"length", std::to_string(known.length)},
                       {"stride", std::to_string(known.stride)},
                       {"bos", known.bos}};
  manifest_.data_file = known.file;
  manifest_.data_sha256 = known.file_sha256;
  manifest_.items = known.windows;
  Sha256 windows, ids;
  for (const auto& w : plan_.windows) {
    windows.update(
        c10::str(w.sequence, " ", w.begin, " ", w.tokens, " ", w.first, " ", w.block, "\n"));
  }
  for (const auto& sequence : plan_.sequences) {
    for (const int64_t id : sequence) ids.update(std::to_string(id) + " ");
    ids.update("\n");
  }
  manifest_.items_sha256 = windows.hex();
  manifest_.requests_sha256 = ids.hex();
}

Perplexity PerplexityRun::finish(const std::vector<BlockSum>& sums) const {
  Perplexity made = summarise(plan_, sums);
  if (limited_) {  // words and bytes are those of the whole text
    made.word_perplexity = made.byte_perplexity = made.bits_per_byte = Perplexity::kUnknown;
  }
  return made;
}

void PerplexityRun::score(RunRecord& record, RunStatus& status, const std::function<void()>& report,
                          EvalResult& result) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<BlockSum> sums;
  const auto make = [&](int64_t batch) {
    report();
    std::vector<std::string> lines;
    for (const auto& sum : score_batch(model_, plan_, plan_.batches[batch])) {
      lines.push_back(dump_json(
          {{"item", std::to_string(sum.window)}, {"nats", sum.nats}, {"tokens", sum.tokens}}));
    }
    return lines;
  };
  const auto read = [&](int64_t batch, const std::vector<std::string>& lines) {
    for (const auto& line : lines) {
      const Json json = parse_json(line, record.path());
      try {
        const auto window = static_cast<int64_t>(sums.size());
        if (json.at("item").get<std::string>() != std::to_string(window)) {
          throw FormatError(record.path(), c10::str("batch ", batch),
                            c10::str("holds another window than ", window, "."));
        }
        sums.push_back({window, json.at("nats").get<double>(), json.at("tokens").get<int64_t>()});
      } catch (const Json::exception& error) {
        throw FormatError(record.path(), c10::str("batch ", batch),
                          std::string("holds no line of a run: ") + error.what() + ".");
      }
    }
    status.done = static_cast<int64_t>(sums.size());
    if (batch < static_cast<int64_t>(record.recorded().size())) {
      result.run.items_recorded += static_cast<int64_t>(lines.size());
    }
  };
  run_batches(record, static_cast<int64_t>(plan_.batches.size()), make, read);
  Perplexity made = finish(sums);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  made.seconds = passed.count();
  auto& metrics = result.metrics[spec_.key][made.protocol];
  metrics = {{"perplexity", made.value},
             {"loss", made.loss},
             {"windows", static_cast<double>(made.windows)},
             {"scored_tokens", static_cast<double>(made.scored)},
             {"dropped_tokens", static_cast<double>(made.dropped)}};
  const auto add = [&](const char* name, double value) {
    if (!std::isnan(value)) metrics[name] = value;
  };
  add("standard_error", made.standard_error);
  add("word_perplexity", made.word_perplexity);
  add("byte_perplexity", made.byte_perplexity);
  add("bits_per_byte", made.bits_per_byte);
  result.perplexities[spec_.key] = std::move(made);
}

}  // namespace

std::unique_ptr<Run> make_perplexity_run(TokenModel& model, const TokenModelInfo& info,
                                         const Tokenizer& tokenizer, TaskSpec spec,
                                         const EvaluateOptions& options, RunManifest manifest) {
  return std::make_unique<PerplexityRun>(model, info, tokenizer, std::move(spec), options,
                                         std::move(manifest));
}

}  // namespace cupel
