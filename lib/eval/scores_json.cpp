#include <limits>

#include "core/json.h"
#include "cupel/core/error.h"
#include "cupel/eval/evaluate.h"

namespace cupel {

namespace {

Json info_json(const TokenModelInfo& info) {
  return {{"vocabulary", info.vocabulary},   {"max_length", info.max_length},
          {"device", info.device},           {"dtype", info.dtype},
          {"fingerprint", info.fingerprint}, {"has_states", info.has_states}};
}

TokenModelInfo info_from(const Json& json) {
  return {json.at("vocabulary").get<int64_t>(),      json.at("max_length").get<int64_t>(),
          json.at("device").get<std::string>(),      json.at("dtype").get<std::string>(),
          json.at("fingerprint").get<std::string>(), json.at("has_states").get<bool>()};
}

// JSON has no infinity and writes null: a perplexity whose exponential leaves float64.
double number_from(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}

Metrics metrics_from(const Json& json) {
  Metrics metrics;
  for (const auto& [task, protocols] : json.items()) {
    for (const auto& [protocol, values] : protocols.items()) {
      for (const auto& [name, value] : values.items()) {
        metrics[task][protocol][name] = number_from(value);
      }
    }
  }
  return metrics;
}

Json perplexity_json(const Perplexity& p) {
  return {{"perplexity", p.value},
          {"loss", p.loss},
          {"protocol", p.protocol},
          {"length", p.length},
          {"windows", p.windows},
          {"tokens", p.tokens},
          {"scored_tokens", p.scored},
          {"dropped_tokens", p.dropped},
          {"file", p.file},
          {"file_sha256", p.file_sha256},
          {"tokenizer", p.tokenizer},
          {"seconds", p.seconds},
          {"window_losses", p.window_losses}};
}

Perplexity perplexity_from(const Json& json) {
  Perplexity p;
  p.value = number_from(json.at("perplexity"));
  p.loss = json.at("loss").get<double>();
  p.protocol = json.at("protocol").get<std::string>();
  p.length = json.at("length").get<int64_t>();
  p.windows = json.at("windows").get<int64_t>();
  p.tokens = json.at("tokens").get<int64_t>();
  p.scored = json.at("scored_tokens").get<int64_t>();
  p.dropped = json.at("dropped_tokens").get<int64_t>();
  p.file = json.at("file").get<std::string>();
  p.file_sha256 = json.at("file_sha256").get<std::string>();
  p.tokenizer = json.at("tokenizer").get<std::string>();
  p.seconds = json.at("seconds").get<double>();
  p.window_losses = json.at("window_losses").get<std::vector<double>>();
  return p;
}

}  // namespace

std::string Scores::to_json() const {
  Json json{{"model", info_json(model)}, {"tokenizer", tokenizer}};
  json["metrics"] = Json(metrics);
  json["perplexities"] = Json::object();
  for (const auto& [task, made] : perplexities) {
    json["perplexities"][task] = perplexity_json(made);
  }
  return dump_json(json, 1);
}

Scores Scores::from_json(const std::string& text, const std::string& file) {
  const Json json = parse_json(text, file);
  try {
    Scores scores;
    scores.model = info_from(json.at("model"));
    scores.tokenizer = json.at("tokenizer").get<std::string>();
    scores.metrics = metrics_from(json.at("metrics"));
    for (const auto& [task, made] : json.at("perplexities").items()) {
      scores.perplexities[task] = perplexity_from(made);
      scores.perplexities[task].model = scores.model;
    }
    return scores;
  } catch (const Json::exception& error) {  // a missing field or a value of another type
    throw FormatError(file, "", std::string("is no result of cupel evaluate: ") + error.what());
  }
}

}  // namespace cupel
