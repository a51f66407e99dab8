// From replies to scores. What is unparsed has no grade: it is counted, and every mean stands beside
// the two that it would be if all of the unparsed had the lowest grade, or the highest.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "cupel/core/check.h"
#include "eval/judge_plan.h"

namespace cupel {

namespace {

using Values = std::map<std::string, double>;

struct Scale {
  double lowest = 0, highest = 0;
};

// Two scores that differ by less are a tie, as FastChat has it.
constexpr double kTie = 0.1;

double win_of(double mine, double other, double tie) {
  if (mine - other > tie) return 1;
  return other - mine > tie ? 0 : 0.5;
}

bool is_preference(const JudgeParser& parser) { return parser.grades.front() == "preference"; }

// The values of a pass and their scales.
std::map<std::string, Scale> scales_of(const JudgeParser& parser, bool both) {
  std::map<std::string, Scale> scales;
  if (parser.assistants == 2 && parser.grades.size() == 1) scales["win"] = {0, 1};
  if (parser.assistants == 2 && both) {
    if (parser.grades.size() == 1) scales["consistent"] = {0, 1};
  }
  for (const auto& grade : parser.grades) {
    if (is_preference(parser)) break;
    scales[grade] = {parser.lowest, parser.highest};
    if (parser.assistants == 2) scales["other_" + grade] = {parser.lowest, parser.highest};
  }
  return scales;
}

// How often a judge that saw both orders took the same place twice.
struct PositionBias {
  int64_t pairs = 0, inconsistent = 0, first_twice = 0, second_twice = 0;
};

// The values of one repeat of one turn, from its replies: one, or one an order.
Values combine(const JudgeParser& parser, const std::vector<std::vector<double>>& grades,
               const std::vector<bool>& first, PositionBias& bias) {
  Values values;
  std::vector<double> wins;
  for (std::size_t i = 0; i < grades.size(); ++i) {
    for (std::size_t g = 0; g < parser.grades.size(); ++g) {
      const std::string& name = parser.grades[g];
      if (parser.assistants == 1) {
        values[name] += grades[i][g] / static_cast<double>(grades.size());
        continue;
      }
      const double a = grades[i][2 * g], b = grades[i][2 * g + 1];
      const double mine = first[i] ? a : b, other = first[i] ? b : a;
      if (!is_preference(parser)) {
        values[name] += mine / static_cast<double>(grades.size());
        values["other_" + name] += other / static_cast<double>(grades.size());
      }
      if (parser.grades.size() == 1)
        wins.push_back(win_of(mine, other, is_preference(parser) ? 0 : kTie));
    }
  }
  if (wins.size() == 1) values["win"] = wins[0];
  if (wins.size() == 2) {
    const bool same = wins[0] == wins[1];
    values["win"] = same ? wins[0] : 0.5;
    values["consistent"] = same ? 1 : 0;
    ++bias.pairs;
    bias.inconsistent += same ? 0 : 1;
    const std::size_t front = first[0] ? 0 : 1;  // the order in which this model stood first
    bias.first_twice += wins[front] == 1 && wins[1 - front] == 0 ? 1 : 0;
    bias.second_twice += wins[front] == 0 && wins[1 - front] == 1 ? 1 : 0;
  }
  return values;
}

// All readings of an item: turn by turn, repeat by repeat; nothing where a reply was unparsed.
struct ItemReadings {
  std::map<int64_t, std::vector<std::optional<Values>>> turns;
  std::set<std::string> flags;
  std::string prediction;
};

// Sums over items for one value.
struct Tally {
  std::vector<double> means;    // of items that have the value
  double low = 0, high = 0;     // sums over all items
  double squares = 0;           // of repeats about their turn's mean
  double freedom = 0;           // repeats - 1, summed
  std::vector<double> weights;  // item by item: the sum of 1 / (turns^2 repeats)
};

// An item's mean over turns of the mean over parsed repeats, if each turn has one.
std::optional<double> add_item(const ItemReadings& item, const std::string& name, Scale scale,
                               Values& values, Tally& tally) {
  const auto turns = static_cast<double>(item.turns.size());
  double sum = 0, weight = 0;
  bool whole = true;
  for (const auto& [turn, repeats] : item.turns) {
    std::vector<double> found;
    for (const auto& reading : repeats) {
      if (reading) found.push_back(reading->at(name));
    }
    const auto all = static_cast<double>(repeats.size()), count = static_cast<double>(found.size());
    double total = 0;
    for (const double value : found) total += value;
    tally.low += (total + (all - count) * scale.lowest) / all / turns;
    tally.high += (total + (all - count) * scale.highest) / all / turns;
    if (found.empty()) {
      whole = false;
      continue;
    }
    const double mean = total / count;
    for (const double value : found) tally.squares += (value - mean) * (value - mean);
    tally.freedom += count - 1;
    sum += mean / turns;
    weight += 1 / (turns * turns * count);
    if (item.turns.size() > 1) values[c10::str(name, "_turn", turn)] = mean;
  }
  if (!whole) return std::nullopt;
  tally.means.push_back(sum);
  tally.weights.push_back(weight);
  return sum;
}

void add_metrics(const std::string& name, const Tally& tally, std::size_t items, Values& metrics) {
  metrics[name + "_low"] = tally.low / static_cast<double>(items);
  metrics[name + "_high"] = tally.high / static_cast<double>(items);
  const auto n = static_cast<double>(tally.means.size());
  if (tally.means.empty()) return;
  if (tally.freedom > 0) {  // pooled over all turns: a few repeats say little of one
    double sum = 0;
    for (const double weight : tally.weights) sum += weight * tally.squares / tally.freedom;
    metrics[name + "_judge_error"] = std::sqrt(sum) / n;
  }
  if (n < 2) return;
  double mean = 0, squares = 0;
  for (const double value : tally.means) mean += value / n;
  for (const double value : tally.means) squares += (value - mean) * (value - mean);
  metrics[name + "_item_error"] = std::sqrt(squares / (n - 1) / n);
}

// Reads every reply of a task; fills judgments and counts.
std::vector<ItemReadings> read_task(const JudgePlan& plan, const JudgeTaskPlan& task,
                                    const std::map<std::string, JudgeReply>& replies,
                                    PositionBias& bias, Values& metrics, JudgeResult& result) {
  std::vector<ItemReadings> items(task.source.items.size());
  for (const auto& [item, flags] : task.flags) items[item].flags.insert(flags.begin(), flags.end());
  // Cells of one (item, turn, repeat): its orders, which stand apart by the number of repeats.
  std::map<std::tuple<std::size_t, int64_t, int64_t>, std::vector<const JudgeCell*>> groups;
  for (const auto& cell : task.cells) groups[{cell.item, cell.turn, cell.repeat}].push_back(&cell);
  double unparsed = 0, failed = 0;
  for (const auto& [key, cells] : groups) {
    const auto [index, turn, repeat] = key;
    ItemReadings& item = items[index];
    std::vector<std::vector<double>> grades;
    std::vector<bool> first;
    for (const JudgeCell* cell : cells) {
      const JudgeReply& reply = replies.at(cell->request);
      JudgeGrades read;
      if (reply.error.empty()) {
        read = plan.parser.read(reply.text);
      } else {
        read.unparsed = "no reply: " + reply.error;
        item.flags.insert("no_reply");
        ++failed;
      }
      if (reply.finish == "length") item.flags.insert("reply_cut");
      item.flags.insert(read.flags.begin(), read.flags.end());
      unparsed += read.unparsed.empty() ? 0 : 1;
      std::string shown = "?";
      for (std::size_t i = 0; i < read.values.size(); ++i) {
        shown = i == 0 ? c10::str(read.values[i]) : c10::str(shown, " ", read.values[i]);
      }
      item.prediction += (item.prediction.empty() ? "" : "; ") + shown;
      const TaskItem& about = task.source.items[index];
      result.judgments.push_back({task.source.key, about.id, about.category, turn, repeat,
                                  cell->first, cell->request, reply.text, read.values,
                                  read.unparsed});
      if (!read.unparsed.empty()) continue;
      grades.push_back(read.values);
      first.push_back(cell->first);
    }
    auto& readings = item.turns[turn];
    readings.push_back(grades.size() == cells.size()
                           ? std::optional(combine(plan.parser, grades, first, bias))
                           : std::nullopt);
    if (!readings.back()) item.flags.insert("partly_unparsed");
  }
  metrics["replies"] = static_cast<double>(task.cells.size());
  metrics["replies_unparsed"] = unparsed;
  metrics["replies_failed"] = failed;
  result.unparsed += static_cast<int64_t>(unparsed);
  return items;
}

void score_task(const JudgePlan& plan, const JudgeTaskPlan& task, const JudgeOptions& options,
                const std::map<std::string, JudgeReply>& replies, JudgeResult& result) {
  PositionBias bias;
  Values metrics;
  const std::vector<ItemReadings> items = read_task(plan, task, replies, bias, metrics, result);
  const bool both = !options.against.empty() && options.order == "both";
  std::vector<ItemScore> scores;
  std::map<std::string, Tally> tallies;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const TaskItem& about = task.source.items[i];
    ItemScore score{about.id, about.category, items[i].prediction, "", {}};
    std::set<std::string> flags = items[i].flags;
    for (const auto& [name, scale] : scales_of(plan.parser, both)) {
      const auto mean = add_item(items[i], name, scale, score.values, tallies[name]);
      if (mean) {
        score.values[name] = *mean;
      } else {
        flags.insert("unparsed");
        flags.erase("partly_unparsed");
      }
    }
    score.flags.assign(flags.begin(), flags.end());
    scores.push_back(std::move(score));
  }
  Values all = mean_metrics(scores);
  for (const auto& [name, tally] : tallies) add_metrics(name, tally, scores.size(), all);
  all.merge(metrics);
  if (bias.pairs > 0) {
    all["pairs"] = static_cast<double>(bias.pairs);
    all["pairs_inconsistent"] = static_cast<double>(bias.inconsistent);
    all["first_twice"] = static_cast<double>(bias.first_twice);
    all["second_twice"] = static_cast<double>(bias.second_twice);
  }
  result.scores.metrics[task.source.key][options.mode] = std::move(all);
  result.scores.items[task.source.key][options.mode] = std::move(scores);
}

}  // namespace

void score_judgments(const JudgePlan& plan, const JudgeOptions& options, const JudgeInfo& info,
                     const std::map<std::string, JudgeReply>& replies, JudgeResult& result) {
  EvalResult& scores = result.scores;
  const RunManifest& any = plan.tasks.front().source.manifest;
  scores.model = {.vocabulary = any.vocabulary,
                  .device = any.device,
                  .dtype = any.dtype,
                  .fingerprint = any.model};
  scores.tokenizer = any.tokenizer;
  scores.settings = any.scorer;
  for (const auto& task : plan.tasks) {
    const auto& source = task.source;
    check(source.manifest.model == any.model, "judge",
          "the records of a pass are those of one model. Got ", source.key, " of another one.");
    score_task(plan, task, options, replies, result);
    RunManifest manifest = source.manifest;
    manifest.protocols = {options.mode};
    manifest.options.insert(plan.settings.begin(), plan.settings.end());
    manifest.options["judge.protocol"] = source.protocol;
    manifest.options["judge.name"] = info.name;
    manifest.options["judge.model"] = info.model;
    for (const auto& [name, value] : info.settings) manifest.options["judge.set." + name] = value;
    scores.manifests[source.key] = manifest;
  }
  scores.run.notes = plan.notes;
}

}  // namespace cupel
