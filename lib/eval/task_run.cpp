#include "eval/task_run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "eval/item_rounds.h"
#include "eval/result_json.h"

namespace cupel {

namespace {

// A batch ends before it costs more than this, or where costs are unknown after so many items:
// what an interruption can lose.
constexpr int64_t kBatchTokens = 4096, kBatchItems = 32;

const char* kind_name(TaskRequest::Kind kind) {
  if (kind == TaskRequest::Kind::log_likelihood) return "log_likelihood";
  return kind == TaskRequest::Kind::rolling ? "rolling" : "generate";
}

Json output_json(const TaskRequest& request, const TaskOutput& output) {
  Json json{{"kind", kind_name(request.kind)}};
  if (request.kind == TaskRequest::Kind::generate) {
    json["text"] = output.generation.text;
    json["tokens"] = output.generation.tokens;
    json["finish"] = output.generation.finish;
    json["flags"] = output.generation.flags;
  } else {
    json["value"] = output.likelihood.value;
    json["is_greedy"] = output.likelihood.is_greedy;
    json["tokens"] = output.likelihood.tokens;
    json["flags"] = output.likelihood.flags;
    if (output.likelihood.greedy_text) json["greedy_text"] = *output.likelihood.greedy_text;
  }
  return json;
}

class TaskRun : public Run {
 public:
  TaskRun(Scorer& scorer, TaskSpec spec, const EvaluateOptions& options, RunManifest manifest);

  const std::string& key() const override { return spec_.key; }
  const RunManifest& manifest() const override { return manifest_; }
  void score(RunRecord& record, RunStatus& status, const std::function<void()>& report,
             EvalResult& result) override;

 private:
  ItemRounds rounds(const TaskItem& item) const {
    return ItemRounds(*task_, item, manifest_.protocols, manifest_.task, manifest_.seed);
  }
  void check_items() const;
  std::vector<int64_t> plan_batches();
  std::string line(const ItemRounds& item) const;
  ItemScore score_item(const ItemRounds& item, std::size_t protocol) const;

  Scorer& scorer_;
  TaskSpec spec_;
  RunManifest manifest_;
  std::shared_ptr<Task> task_;
  std::vector<TaskItem> items_;
};

TaskRun::TaskRun(Scorer& scorer, TaskSpec spec, const EvaluateOptions& options,
                 RunManifest manifest)
    : scorer_(scorer), spec_(std::move(spec)), manifest_(std::move(manifest)) {
  task_ = tasks().get(spec_.name)();
  check(task_ != nullptr, "evaluate", "the factory of ", spec_.name, " must make a task.");
  const TaskInfo info = task_->info();
  check(!info.protocols.empty(), "evaluate", spec_.name, " must have a protocol.");
  const std::string path = take_path(spec_, options.data, info.data);
  check(!path.empty(), "evaluate", spec_.name, " needs its data: ", spec_.name,
        ":file=PATH, or the option data (--data).");
  manifest_.protocols = take_protocols(spec_, info.protocols);
  const TaskOptions filled = fill_options(spec_, info);
  task_->set_measure(scorer_.measure());
  items_ = task_->load(path, filled);
  check_items();
  manifest_.task = spec_.name;
  manifest_.task_version = info.version;
  manifest_.options = filled.values();
  manifest_.data_file = std::filesystem::path(path).filename().string();
  manifest_.data_sha256 = data_sha256(path);
  if (options.limit > 0 && options.limit < static_cast<int64_t>(items_.size())) {
    items_.resize(static_cast<std::size_t>(options.limit));
  }
  manifest_.items = static_cast<int64_t>(items_.size());
  Sha256 ids, requests;
  for (const auto& item : items_) {
    ids.update(item.id + "\n");
    ItemRounds first = rounds(item);
    for (const int64_t number : first.next()) {
      requests.update(request_text(first.request(number)) + "\n");
    }
  }
  manifest_.items_sha256 = ids.hex();
  manifest_.requests_sha256 = requests.hex();
}

void TaskRun::check_items() const {
  check(!items_.empty(), "evaluate", spec_.name, " must load at least one item.");
  std::set<std::string> ids;
  for (const auto& item : items_) {
    check(!item.id.empty() && first_invalid_utf8(item.id) == std::string::npos, "evaluate",
          "the id of an item is text, and not empty. Got '", printable(item.id, 60), "' in ",
          spec_.name, ".");
    check(ids.insert(item.id).second, "evaluate", "the id of an item is its own. Got '",
          printable(item.id, 60), "' twice in ", spec_.name, ".");
  }
}

// Announces every first request to the scorer and cuts the items into batches by what they cost;
// the end of each.
std::vector<int64_t> TaskRun::plan_batches() {
  std::vector<ScoredPair> pairs;
  std::vector<int64_t> first_pair;
  std::vector<char> unknown;
  for (const auto& item : items_) {
    first_pair.push_back(static_cast<int64_t>(pairs.size()));
    unknown.push_back(0);
    ItemRounds first = rounds(item);
    for (const int64_t number : first.next()) {
      const TaskRequest& request = first.request(number);
      if (request.kind == TaskRequest::Kind::log_likelihood) {
        pairs.emplace_back(request.context, request.continuation);
      } else {
        unknown.back() = 1;
      }
    }
  }
  first_pair.push_back(static_cast<int64_t>(pairs.size()));
  // Without pairs as well: what an earlier task announced is over.
  const std::vector<int64_t> costs = scorer_.prepare(pairs);
  check(costs.empty() || costs.size() == pairs.size(), "evaluate",
        "prepare() returns the cost of each pair, or nothing. Got ", costs.size(), " for ",
        pairs.size(), " pairs.");
  std::vector<int64_t> ends;
  int64_t begin = 0, tokens = 0;
  bool by_count = false;
  for (int64_t i = 0; i < static_cast<int64_t>(items_.size()); ++i) {
    int64_t cost = 0;
    for (int64_t p = first_pair[i]; p < first_pair[i + 1] && !costs.empty(); ++p) cost += costs[p];
    by_count = by_count || unknown[i] || costs.empty();
    if (i > begin && (tokens + cost > kBatchTokens || (by_count && i - begin >= kBatchItems))) {
      ends.push_back(i);
      begin = i;
      tokens = 0;
    }
    tokens += cost;
  }
  ends.push_back(static_cast<int64_t>(items_.size()));
  return ends;
}

ItemScore TaskRun::score_item(const ItemRounds& item, std::size_t protocol) const {
  const std::vector<TaskOutput> outputs = item.outputs(protocol);
  ItemScore score = task_->score(item.item(), manifest_.protocols[protocol], outputs);
  std::set<std::string> flags(score.flags.begin(), score.flags.end());
  for (const auto& output : outputs) {
    flags.insert(output.likelihood.flags.begin(), output.likelihood.flags.end());
    flags.insert(output.generation.flags.begin(), output.generation.flags.end());
  }
  score.flags.assign(flags.begin(), flags.end());
  for (const auto& [name, value] : score.values) {
    if (!std::isfinite(value)) {
      throw NumericalError(c10::str("[evaluate] values of an item are finite. Got ", name, " = ",
                                    value, " in ", spec_.key, ", item '",
                                    printable(item.item().id, 60), "'."));
    }
  }
  return score;
}

std::string TaskRun::line(const ItemRounds& item) const {
  Json json{{"item", item.item().id}, {"category", item.item().category}};
  json["requests"] = Json::array();
  for (int64_t i = 0; i < item.size(); ++i) {
    json["requests"].push_back(output_json(item.request(i), item.output(i)));
  }
  for (std::size_t i = 0; i < manifest_.protocols.size(); ++i) {
    Json& protocol = json["protocols"][manifest_.protocols[i]];
    protocol = item_json(score_item(item, i));
    protocol["requests"] = item.order(i);
  }
  return dump_json(json);
}

void TaskRun::score(RunRecord& record, RunStatus& status, const std::function<void()>& report,
                    EvalResult& result) {
  const std::vector<int64_t> ends = plan_batches();
  const auto begin_of = [&](int64_t batch) { return batch == 0 ? 0 : ends[batch - 1]; };
  const auto make = [&](int64_t batch) {
    std::vector<ItemRounds> items;
    for (int64_t i = begin_of(batch); i < ends[batch]; ++i) items.push_back(rounds(items_[i]));
    report();
    run_rounds(scorer_, items, spec_.key);
    std::vector<std::string> lines;
    for (const auto& item : items) lines.push_back(line(item));
    return lines;
  };
  auto& scores = result.items[spec_.key];
  const auto read = [&](int64_t batch, const std::vector<std::string>& lines) {
    const auto fail = [&](const std::string& rule) {
      throw FormatError(record.path(), c10::str("batch ", batch), rule);
    };
    if (static_cast<int64_t>(lines.size()) != ends[batch] - begin_of(batch)) {
      fail(c10::str("holds ", lines.size(), " items where the run has ",
                    ends[batch] - begin_of(batch), "."));
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const TaskItem& item = items_[begin_of(batch) + static_cast<int64_t>(i)];
      const Json json = parse_json(lines[i], record.path());
      try {
        if (json.at("item").get<std::string>() != item.id) {
          fail(c10::str("holds item ", printable(dump_json(json.at("item")), 60),
                        " where the run has '", printable(item.id, 60), "'."));
        }
        for (const auto& protocol : manifest_.protocols) {
          scores[protocol].push_back(
              item_from(json.at("protocols").at(protocol), item.id, item.category));
        }
      } catch (const Json::exception& error) {
        fail(std::string("holds no line of a run: ") + error.what() + ".");
      }
    }
    status.done = ends[batch];
    if (batch < static_cast<int64_t>(record.recorded().size())) {
      result.run.items_recorded += static_cast<int64_t>(lines.size());
    }
  };
  run_batches(record, static_cast<int64_t>(ends.size()), make, read);
  for (const auto& protocol : manifest_.protocols) {
    auto& metrics = result.metrics[spec_.key][protocol];
    metrics = task_->aggregate(scores[protocol], protocol);
    for (const auto& [name, value] : metrics) {
      if (std::isfinite(value)) continue;
      throw NumericalError(c10::str("[evaluate] metrics are finite. Got ", name, " = ", value,
                                    " of ", spec_.key, " by ", protocol, "."));
    }
  }
}

}  // namespace

std::unique_ptr<Run> make_task_run(Scorer& scorer, TaskSpec spec, const EvaluateOptions& options,
                                   RunManifest manifest) {
  return std::make_unique<TaskRun>(scorer, std::move(spec), options, std::move(manifest));
}

}  // namespace cupel
