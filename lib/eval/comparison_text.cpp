#include <cmath>
#include <cstdio>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/eval/compare.h"

namespace cupel {

namespace {

Json interval(double low, double high) { return Json::array({low, high}); }

Json flips_json(const Flips& flips) {
  return {{"items", flips.items},
          {"right_to_wrong", flips.right_to_wrong},
          {"wrong_to_right", flips.wrong_to_right},
          {"changed_wrong", flips.changed_wrong},
          {"same", flips.same}};
}

std::string number(double value, const char* format = "%.4g") {
  if (std::isnan(value)) return "";
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string span(double low, double high, const char* format) {
  if (std::isnan(low)) return "";
  return number(low, format) + " to " + number(high, format);
}

std::string row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const auto& cell : cells) {
    text += " ";
    for (const char c : cell) text += c == '|' ? "\\|" : std::string(1, c == '\n' ? ' ' : c);
    text += " |";
  }
  return text + "\n";
}

std::string head(const std::vector<std::string>& cells) {
  std::string text = row(cells) + "|";
  for (std::size_t i = 0; i < cells.size(); ++i) text += i == 0 ? " --- |" : " ---: |";
  return text + "\n";
}

}  // namespace

std::string Comparison::to_json() const {
  Json json{{"options",
             {{"seed", options.seed},
              {"draws", options.draws},
              {"matching", options.matching},
              {"level", options.level}}}};
  json["perplexities"] = Json::array();
  for (const auto& p : perplexities) {
    json["perplexities"].push_back({{"task", p.task},
                                    {"protocol", p.protocol},
                                    {"blocks", p.blocks},
                                    {"dense", p.dense},
                                    {"compressed", p.compressed},
                                    {"ratio", p.ratio},
                                    {"ratio_interval", interval(p.ratio_low, p.ratio_high)},
                                    {"loss_difference", p.loss_difference},
                                    {"standard_error", p.standard_error},
                                    {"interval", interval(p.low, p.high)}});
  }
  json["tasks"] = Json::array();
  for (const auto& t : tasks) {
    json["tasks"].push_back({{"task", t.task},
                             {"protocol", t.protocol},
                             {"metric", t.metric},
                             {"items", t.items},
                             {"dense", t.dense},
                             {"compressed", t.compressed},
                             {"difference", t.difference},
                             {"standard_error", t.standard_error},
                             {"interval", interval(t.low, t.high)},
                             {"p", t.p},
                             {"p_holm", t.p_holm},
                             {"flips", flips_json(t.flips)},
                             {"minimum_detectable_effect", t.minimum_detectable_effect},
                             {"verdict", t.verdict}});
  }
  json["unpaired"] = unpaired;
  json["notes"] = notes;
  return dump_json(json, 1);
}

std::string Comparison::to_markdown() const {
  std::string text;
  const std::string percent = number(100 * options.level, "%g") + " % interval";
  if (!perplexities.empty()) {
    text += head({"task", "protocol", "dense", "compressed", "ratio", "loss difference", percent});
    for (const auto& p : perplexities) {
      text += row({p.task, p.protocol, number(p.dense, "%.6g"), number(p.compressed, "%.6g"),
                   number(p.ratio, "%.4f"), number(p.loss_difference, "%+.5f"),
                   span(p.low, p.high, "%+.5f")});
    }
  }
  if (!tasks.empty()) {
    if (!text.empty()) text += "\n";
    text += head({"task", "protocol", "metric", "items", "dense", "compressed", "difference",
                  percent, "p (Holm)", "right to wrong", "wrong to right", "detectable",
                  number(100 * options.matching, "%g") + " % kept"});
    for (const auto& t : tasks) {
      const bool binary = !std::isnan(t.p);
      text += row({t.task, t.protocol, t.metric, std::to_string(t.items), number(t.dense, "%.4f"),
                   number(t.compressed, "%.4f"), number(t.difference, "%+.4f"),
                   span(t.low, t.high, "%+.4f"), number(t.p_holm, "%.3g"),
                   binary ? std::to_string(t.flips.right_to_wrong) : "",
                   binary ? std::to_string(t.flips.wrong_to_right) : "",
                   number(t.minimum_detectable_effect, "%.3f"), t.verdict});
    }
  }
  for (const auto& task : unpaired) text += "\nOnly one side has " + task + ".\n";
  for (const auto& note : notes) text += "\n" + note + "\n";
  return text;
}

}  // namespace cupel
