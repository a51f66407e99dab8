#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cupel/core/journal.h"

namespace cupel {

/// Everything that decides the numbers of a task's run. Two runs with the same manifest give the
/// same record, byte for byte but for times.
struct RunManifest {
  std::string cupel = "";  ///< version
  std::string task = "", task_version = "";
  std::vector<std::string> protocols = {};
  std::map<std::string, std::string> options = {};  ///< of the task, without the path of its data
  std::string data_file = "";                       ///< base name
  std::string data_sha256 = "";  ///< of the file; of a folder, of the names and hashes of its files
  int64_t items = 0;             ///< that run: those of the data, at most `limit`
  std::string items_sha256 = "";     ///< of their ids, one a line
  std::string requests_sha256 = "";  ///< of what is asked first of each item, prompts included
  std::string tokenizer = "";        ///< fingerprint
  std::string model = "";            ///< fingerprint; "" when the model has none
  std::string dtype = "", device = "";
  int64_t vocabulary = 0;
  std::map<std::string, std::string> scorer = {};  ///< ScorerInfo::settings
  uint64_t seed = 0;
  int64_t limit = 0;  ///< 0 = all items

  std::string to_json() const;  ///< one line
  /// FormatError naming `file` for anything that to_json() did not write.
  static RunManifest from_json(const std::string& text, const std::string& file);
};

/// The first field in which two manifests differ, with both values; "" when there is none. Without
/// `models`, what belongs to the model or the version of cupel may differ: what is left must agree
/// before two models are compared.
std::string manifest_difference(const RunManifest& a, const RunManifest& b, bool models = true);

/// The lines that a run has written, batch by batch.
///
/// The file is a Journal. Its first line is {"cupel_record": 1, "manifest": {...}, "environment":
/// {...}}; the environment (threads, torch version, start) is for the reader and compared with
/// nothing.
class RunRecord {
 public:
  /// Written nowhere.
  RunRecord() = default;
  /// Starts the record `path`, or goes on with it when `resume`. std::invalid_argument when it holds
  /// batches and `resume` is false, when its manifest differs (names the first field), and when it
  /// is to go on and the model has no fingerprint, so that nothing could tell it from another one.
  RunRecord(const std::string& path, const RunManifest& manifest, bool resume);

  /// Batches that were there when it was opened.
  const std::vector<std::vector<std::string>>& recorded() const;
  void append(const std::vector<std::string>& lines);

  int64_t dropped_lines() const;  ///< of a batch that was not whole
  std::string path() const;       ///< "" without a file
  /// What differs between the environment of the record and this one ("torch 2.12.0 and 2.13.0").
  const std::string& environment_change() const { return environment_change_; }

 private:
  std::optional<Journal> journal_;
  std::string environment_change_;
};

/// SHA-256 of a file's bytes; of a folder, of "name\thash\n" of each regular file in it, sorted by
/// path. FormatError when it cannot be read.
std::string data_sha256(const std::string& path);

/// A file name for a task's record: "mmlu.jsonl", and what is no letter, digit, dot, dash or
/// underscore replaced, with part of the name's hash behind.
std::string record_file_name(const std::string& task);

}  // namespace cupel
