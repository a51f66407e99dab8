#include "eval/tasks/mmlu_metrics.h"

#include <algorithm>

#include "eval/tasks/mmlu_categories.h"

namespace cupel {

namespace {

bool has_flag(const ItemScore& score, const std::string& flag) {
  return std::find(score.flags.begin(), score.flags.end(), flag) != score.flags.end();
}

}  // namespace

std::map<std::string, double> mmlu_metrics(const std::vector<ItemScore>& scores, int64_t asked) {
  auto metrics = mean_metrics(scores);
  if (scores.empty()) return metrics;
  const auto items = static_cast<double>(scores.size());
  double macro = 0, subjects = 0, invalid = 0, shots = 0;
  for (const auto& [name, value] : metrics) {
    if (name.rfind("accuracy/", 0) != 0) continue;
    macro += value;
    ++subjects;
  }
  std::map<std::string, double> gold;
  for (const auto& score : scores) {
    ++gold[score.gold];
    invalid += has_flag(score, "invalid");
    double its = static_cast<double>(asked);
    for (int64_t k = 0; k < asked; ++k) {
      if (has_flag(score, "shots_" + std::to_string(k))) its = static_cast<double>(k);
    }
    shots += its;
  }
  double constant = 0;
  for (const auto& entry : gold) constant = std::max(constant, entry.second / items);
  if (subjects > 0) metrics["accuracy_macro"] = macro / subjects;
  metrics["invalid_rate"] = invalid / items;
  metrics["constant_answer_accuracy"] = constant;
  metrics["shots"] = shots / items;
  // Groups of subjects count questions, as the published averages do.
  std::vector<ItemScore> grouped = scores;
  for (const bool broad : {false, true}) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const MmluPlace place = mmlu_place(scores[i].category);
      grouped[i].category =
          broad ? "category:" + place.category : "subcategory:" + place.subcategory;
    }
    for (const auto& [name, value] : mean_metrics(grouped)) {
      if (name.find('/') != std::string::npos) metrics[name] = value;
    }
  }
  return metrics;
}

}  // namespace cupel
