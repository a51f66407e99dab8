#include "eval/result_json.h"

#include <c10/util/StringUtil.h>

#include <cstdio>
#include <limits>

#include "cupel/core/error.h"

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

// NaN, which JSON has not either, for a number that the protocol does not give.
double known_from(const Json& json) {
  return json.is_null() ? Perplexity::kUnknown : json.get<double>();
}

Json perplexity_json(const Perplexity& p) {
  return {{"perplexity", p.value},
          {"loss", p.loss},
          {"standard_error", p.standard_error},
          {"protocol", p.protocol},
          {"length", p.length},
          {"stride", p.stride},
          {"bos", p.bos},
          {"windows", p.windows},
          {"documents", p.documents},
          {"skipped_documents", p.skipped},
          {"tokens", p.tokens},
          {"scored_tokens", p.scored},
          {"dropped_tokens", p.dropped},
          {"words", p.words},
          {"bytes", p.bytes},
          {"word_perplexity", p.word_perplexity},
          {"byte_perplexity", p.byte_perplexity},
          {"bits_per_byte", p.bits_per_byte},
          {"file", p.file},
          {"file_sha256", p.file_sha256},
          {"tokenizer", p.tokenizer},
          {"notes", p.notes},
          {"seconds", p.seconds},
          {"window_losses", p.window_losses},
          {"window_tokens", p.window_tokens}};
}

Perplexity perplexity_from(const Json& json) {
  Perplexity p;
  p.value = number_from(json.at("perplexity"));
  json.at("loss").get_to(p.loss);
  p.standard_error = known_from(json.at("standard_error"));
  json.at("protocol").get_to(p.protocol);
  json.at("length").get_to(p.length);
  json.at("stride").get_to(p.stride);
  json.at("bos").get_to(p.bos);
  json.at("windows").get_to(p.windows);
  json.at("documents").get_to(p.documents);
  json.at("skipped_documents").get_to(p.skipped);
  json.at("tokens").get_to(p.tokens);
  json.at("scored_tokens").get_to(p.scored);
  json.at("dropped_tokens").get_to(p.dropped);
  json.at("words").get_to(p.words);
  json.at("bytes").get_to(p.bytes);
  p.word_perplexity = known_from(json.at("word_perplexity"));
  p.byte_perplexity = known_from(json.at("byte_perplexity"));
  p.bits_per_byte = known_from(json.at("bits_per_byte"));
  json.at("file").get_to(p.file);
  json.at("file_sha256").get_to(p.file_sha256);
  json.at("tokenizer").get_to(p.tokenizer);
  json.at("notes").get_to(p.notes);
  json.at("seconds").get_to(p.seconds);
  json.at("window_losses").get_to(p.window_losses);
  json.at("window_tokens").get_to(p.window_tokens);
  return p;
}

Json run_json(const EvalRun& run) {
  return {{"seconds", run.seconds},
          {"tokens_run", run.tokens_run},
          {"tokens_shared", run.tokens_shared},
          {"items_recorded", run.items_recorded},
          {"dropped_lines", run.dropped_lines},
          {"notes", run.notes}};
}

EvalRun run_from(const Json& json) {
  EvalRun run;
  json.at("seconds").get_to(run.seconds);
  json.at("tokens_run").get_to(run.tokens_run);
  json.at("tokens_shared").get_to(run.tokens_shared);
  json.at("items_recorded").get_to(run.items_recorded);
  json.at("dropped_lines").get_to(run.dropped_lines);
  json.at("notes").get_to(run.notes);
  return run;
}

}  // namespace

Json item_json(const ItemScore& score) {
  return {{"prediction", score.prediction},
          {"gold", score.gold},
          {"values", Json(score.values)},
          {"flags", score.flags}};
}

ItemScore item_from(const Json& json, const std::string& id, const std::string& category) {
  ItemScore score{id, category, "", "", {}};
  json.at("prediction").get_to(score.prediction);
  json.at("gold").get_to(score.gold);
  json.at("values").get_to(score.values);
  json.at("flags").get_to(score.flags);
  return score;
}

std::string EvalResult::to_json() const {
  Json json{{"model", info_json(model)}, {"tokenizer", tokenizer}, {"settings", Json(settings)}};
  json["metrics"] = Json(metrics);
  json["perplexities"] = Json::object();
  for (const auto& [task, made] : perplexities) json["perplexities"][task] = perplexity_json(made);
  json["manifests"] = Json::object();
  for (const auto& [task, manifest] : manifests) json["manifests"][task] = manifest_json(manifest);
  json["run"] = run_json(run);
  json["items"] = Json::object();
  for (const auto& [task, protocols] : items) {
    for (const auto& [protocol, scores] : protocols) {
      Json& list = json["items"][task][protocol] = Json::array();
      for (const auto& score : scores) {
        Json item{{"item", score.id}, {"category", score.category}};
        item.update(item_json(score));
        list.push_back(std::move(item));
      }
    }
  }
  return dump_json(json, 1);
}

EvalResult EvalResult::from_json(const std::string& text, const std::string& file) {
  const Json json = parse_json(text, file);
  try {
    EvalResult result;
    result.model = info_from(json.at("model"));
    json.at("tokenizer").get_to(result.tokenizer);
    json.at("settings").get_to(result.settings);
    result.metrics = metrics_from(json.at("metrics"));
    for (const auto& [task, made] : json.at("perplexities").items()) {
      result.perplexities[task] = perplexity_from(made);
      result.perplexities[task].model = result.model;
    }
    for (const auto& [task, manifest] : json.at("manifests").items()) {
      result.manifests[task] = manifest_from(manifest);
    }
    result.run = run_from(json.at("run"));
    for (const auto& [task, protocols] : json.at("items").items()) {
      for (const auto& [protocol, list] : protocols.items()) {
        auto& scores = result.items[task][protocol];
        for (const auto& item : list) {
          scores.push_back(item_from(item, item.at("item").get<std::string>(),
                                     item.at("category").get<std::string>()));
        }
      }
    }
    return result;
  } catch (const Json::exception& error) {  // a missing field or a value of another type
    throw FormatError(file, "", std::string("is no result of cupel evaluate: ") + error.what());
  }
}

namespace {

// A cell of a Markdown table.
std::string cell(std::string text) {
  for (std::size_t at = 0; (at = text.find_first_of("|\n", at)) != std::string::npos; at += 2) {
    text.replace(at, 1, text[at] == '|' ? "\\|" : "  ");
  }
  return text;
}

}  // namespace

std::string EvalResult::to_markdown() const {
  std::string text = "| task | protocol | metric | value |\n| --- | --- | --- | ---: |\n";
  for (const auto& [task, protocols] : metrics) {
    for (const auto& [protocol, values] : protocols) {
      for (const auto& [metric, value] : values) {
        if (metric.find('/') != std::string::npos) continue;  // of one category
        char number[32];
        std::snprintf(number, sizeof number, "%.6g", value);
        text += c10::str("| ", cell(task), " | ", cell(protocol), " | ", cell(metric), " | ",
                         number, " |\n");
      }
    }
  }
  return text;
}

}  // namespace cupel
