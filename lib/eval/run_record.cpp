#include "cupel/eval/run_record.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "eval/result_json.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

Json environment() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char started[32];
  std::strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {{"torch", TORCH_VERSION}, {"threads", at::get_num_threads()}, {"time", started}};
}

// "field: a and b" for the first entry that differs, or "".
std::string first_difference(const Json& a, const Json& b, const std::string& prefix) {
  const auto text = [](const Json* value) {
    if (!value) return std::string("nothing");
    return printable(value->is_string() ? value->get<std::string>() : dump_json(*value), 100);
  };
  std::vector<std::string> keys;
  for (const Json* side : {&a, &b}) {
    for (const auto& entry : side->items()) {
      if (std::find(keys.begin(), keys.end(), entry.key()) == keys.end()) {
        keys.push_back(entry.key());
      }
    }
  }
  for (const auto& key : keys) {
    const Json* left = a.contains(key) ? &a.at(key) : nullptr;
    const Json* right = b.contains(key) ? &b.at(key) : nullptr;
    if (left && right && *left == *right) continue;
    if (left && right && left->is_object() && right->is_object()) {
      return first_difference(*left, *right, prefix + key + ".");
    }
    return c10::str(prefix, key, ": ", text(left), " and ", text(right));
  }
  return "";
}

}  // namespace

Json manifest_json(const RunManifest& m) {
  return {{"cupel", m.cupel},
          {"task", m.task},
          {"task_version", m.task_version},
          {"protocols", m.protocols},
          {"options", Json(m.options)},
          {"data", {{"file", m.data_file}, {"sha256", m.data_sha256}}},
          {"items", {{"count", m.items}, {"sha256", m.items_sha256}}},
          {"requests_sha256", m.requests_sha256},
          {"tokenizer", m.tokenizer},
          {"model",
           {{"fingerprint", m.model},
            {"dtype", m.dtype},
            {"device", m.device},
            {"vocabulary", m.vocabulary}}},
          {"scorer", Json(m.scorer)},
          {"seed", m.seed},
          {"limit", m.limit}};
}

RunManifest manifest_from(const Json& json) {
  RunManifest m;
  json.at("cupel").get_to(m.cupel);
  json.at("task").get_to(m.task);
  json.at("task_version").get_to(m.task_version);
  json.at("protocols").get_to(m.protocols);
  json.at("options").get_to(m.options);
  json.at("data").at("file").get_to(m.data_file);
  json.at("data").at("sha256").get_to(m.data_sha256);
  json.at("items").at("count").get_to(m.items);
  json.at("items").at("sha256").get_to(m.items_sha256);
  json.at("requests_sha256").get_to(m.requests_sha256);
  json.at("tokenizer").get_to(m.tokenizer);
  json.at("model").at("fingerprint").get_to(m.model);
  json.at("model").at("dtype").get_to(m.dtype);
  json.at("model").at("device").get_to(m.device);
  json.at("model").at("vocabulary").get_to(m.vocabulary);
  json.at("scorer").get_to(m.scorer);
  json.at("seed").get_to(m.seed);
  json.at("limit").get_to(m.limit);
  return m;
}

std::string RunManifest::to_json() const { return dump_json(manifest_json(*this)); }

RunManifest RunManifest::from_json(const std::string& text, const std::string& file) {
  const Json json = parse_json(text, file);
  try {
    return manifest_from(json);
  } catch (const Json::exception& error) {
    throw FormatError(file, "line 1",
                      std::string("is no manifest of a run: ") + error.what() + ".");
  }
}

std::string manifest_difference(const RunManifest& a, const RunManifest& b, bool models) {
  Json left = manifest_json(a), right = manifest_json(b);
  for (Json* side : {&left, &right}) {
    if (models) break;
    side->erase("model");
    side->erase("cupel");
    side->at("data").erase("file");  // the same bytes under another name are the same data
    for (const char* rounding : {"share_prefixes", "batch_tokens"}) {
      side->at("scorer").erase(rounding);  // it changes the last bits of a score and nothing else
    }
  }
  return first_difference(left, right, "");
}

RunRecord::RunRecord(const std::string& path, const RunManifest& manifest, bool resume) {
  if (const fs::path folder = fs::path(path).parent_path(); !folder.empty()) {
    fs::create_directories(folder);
  }
  const Json here = environment();
  bool begun = false;
  if (fs::exists(path)) {
    journal_ = Journal::open(path, [&](const JournalContents& found) {
      begun = !found.batches.empty();
      if (!begun) return;  // it is written anew, and nothing is lost
      check(resume, "evaluate", "there is a record already, ", printable(path),
            ": go on with it (resume, --resume) or write another one (another record folder, "
            "--out).");
      const Json first = parse_json(found.manifest, path);
      if (!first.contains("manifest")) throw FormatError(path, "line 1", "holds no manifest.");
      const RunManifest recorded = RunManifest::from_json(dump_json(first.at("manifest")), path);
      const std::string difference = manifest_difference(recorded, manifest);
      check(difference.empty(), "evaluate", "a record goes on only as it began. Got ",
            printable(path), " with another ", difference,
            "; another record folder (--out) keeps both.");
      check(!manifest.model.empty(), "evaluate",
            "a record goes on only with a model whose weights have a fingerprint: nothing tells "
            "this one from another. Got ",
            printable(path), ".");
      for (const char* fact : {"torch", "threads"}) {
        const Json was = first.value("environment", Json::object()).value(fact, Json());
        if (was == here.at(fact)) continue;
        environment_change_ += c10::str(environment_change_.empty() ? "" : "; ", fact, " ",
                                        dump_json(was), " and ", dump_json(here.at(fact)));
      }
    });
  }
  if (begun) return;
  journal_.reset();  // its lock goes before the next one comes
  const Json first{
      {"cupel_record", 1}, {"manifest", manifest_json(manifest)}, {"environment", here}};
  journal_ = Journal::create(path, dump_json(first));
}

const std::vector<std::vector<std::string>>& RunRecord::recorded() const {
  static const std::vector<std::vector<std::string>> none;
  return journal_ ? journal_->contents().batches : none;
}

void RunRecord::append(const std::vector<std::string>& lines) {
  if (journal_) journal_->append_batch(lines);
}

int64_t RunRecord::dropped_lines() const {
  return journal_ ? journal_->contents().dropped_lines : 0;
}

std::string RunRecord::path() const { return journal_ ? journal_->path() : ""; }

std::string data_sha256(const std::string& path) {
  const auto of_file = [](const std::string& file) {
    const InputFile input(file);
    Sha256 sum;
    std::string chunk;
    for (uint64_t at = 0; at < input.size(); at += chunk.size()) {
      chunk.resize(std::min<uint64_t>(uint64_t{1} << 20, input.size() - at));
      input.read(at, chunk.data(), chunk.size());
      sum.update(chunk);
    }
    return sum.hex();
  };
  if (!fs::is_directory(path)) return of_file(path);
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) {
      names.push_back(fs::relative(entry.path(), path).generic_string());
    }
  }
  std::sort(names.begin(), names.end());
  Sha256 sum;
  for (const auto& name : names) sum.update(name + "\t" + of_file(path + "/" + name) + "\n");
  return sum.hex();
}

std::string record_file_name(const std::string& task) {
  std::string name = task.substr(0, 80);
  for (char& c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  if (name != task || name.starts_with('.')) name += "-" + sha256(task).substr(0, 8);
  return (name.starts_with('.') ? "_" : "") + name + ".jsonl";
}

}  // namespace cupel
