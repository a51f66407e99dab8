#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"

namespace cupel {

/// A value of a JSON file that knows where it stands, so that whatever is wrong with it is named by
/// file, line and path ("line 3, answer.aliases" or "Data[7].Question"). Does not own the value.
class JsonView {
 public:
  /// `line`: in front of the path, e.g. "line 3"; empty where the file is one value.
  JsonView(const Json& value, std::string file, std::string line = "")
      : value_(&value), file_(std::move(file)), line_(std::move(line)) {}

  bool has(const std::string& field) const;
  bool is_text() const { return value_->is_string(); }
  bool is_list() const { return value_->is_array(); }
  bool is_null() const { return value_->is_null(); }

  // FormatError when there is no such field, or the value is of another kind.
  JsonView at(const std::string& field) const;
  std::vector<JsonView> list() const;
  std::string text() const;
  std::vector<std::string> texts() const;
  std::string id() const;  ///< a text that is not empty, or a whole number

  [[noreturn]] void fail(const std::string& rule) const;

 private:
  JsonView inside(const Json& value, const std::string& path) const;
  [[noreturn]] void wrong_kind(const char* wanted) const;

  const Json* value_;
  std::string file_, line_, path_;
};

/// Calls `record` for each line of a .jsonl or .jsonl.gz file that is not blank. FormatError naming
/// the line for bad JSON.
void for_each_record(const std::string& path, const std::function<void(const JsonView&)>& record);

}  // namespace cupel
