#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "cupel/eval/task.h"

namespace cupel {

/// One object of a JSONL file, whose fields are read with checks that name file and line.
class JsonlRecord {
 public:
  JsonlRecord(std::string file, int64_t line, Json fields)
      : file_(std::move(file)), line_(line), fields_(std::move(fields)) {}

  bool has(const std::string& field) const { return fields_.contains(field); }
  const Json& json() const { return fields_; }
  std::string text(const std::string& field) const;
  std::vector<std::string> texts(const std::string& field) const;
  /// A text alone is a list of one.
  std::vector<std::string> one_or_more(const std::string& field) const;
  int64_t whole(const std::string& field) const;
  /// "id" or "question_id" (text or whole number) or, without them, the number of the record from 0;
  /// "category" or "".
  TaskItem item(int64_t number) const;
  [[noreturn]] void fail(const std::string& rule) const;

 private:
  const Json& at(const std::string& field, bool right, const char* type) const;

  std::string file_;
  int64_t line_;
  Json fields_;
};

/// Reads a .jsonl or .jsonl.gz file into items with `make`; empty lines are skipped. FormatError
/// for bad JSON, an id used twice and a file without records.
std::vector<TaskItem> read_jsonl_items(
    const std::string& path, const std::function<void(const JsonlRecord&, TaskItem&)>& make);

}  // namespace cupel
