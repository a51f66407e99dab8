#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "cupel/core/error.h"

namespace cupel {

/// Reads the fields of one JSON object and turns every surprise into a FormatError. The object must
/// outlive it.
class Fields {
 public:
  Fields(const Json& json, std::string file, std::string prefix = "")
      : json_(json), file_(std::move(file)), prefix_(std::move(prefix)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    if (!has(key)) fail(key, "is required");
    const Json& value = json_[key];
    if (!value.is_number_integer()) fail(key, "must be an integer. Got " + value.dump());
    const bool big = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX);
    if (big || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      fail(key, "must lie in [" + std::to_string(low) + ", " + std::to_string(high) + "]. Got " +
                    value.dump());
    }
    return value.get<int64_t>();
  }
  int64_t integer(const char* key, int64_t low, int64_t high, int64_t otherwise) const {
    return has(key) ? integer(key, low, high) : otherwise;
  }

  double number(const char* key, double low, double high, double otherwise) const {
    if (!has(key)) return otherwise;
    const Json& value = json_[key];
    if (!value.is_number()) fail(key, "must be a number. Got " + value.dump());
    const double number = value.get<double>();
    if (!(number >= low && number <= high)) {
      fail(key, "must lie in [" + Json(low).dump() + ", " + Json(high).dump() + "]. Got " +
                    value.dump());
    }
    return number;
  }

  bool boolean(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_boolean()) fail(key, "must be true or false. Got " + json_[key].dump());
    return json_[key].get<bool>();
  }

  std::string text(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_string()) fail(key, "must be a string. Got " + json_[key].dump());
    return json_[key].get<std::string>();
  }

  const Json& object(const char* key) const {
    if (!has(key)) fail(key, "is required");
    if (!json_[key].is_object()) fail(key, "must be an object. Got " + json_[key].dump());
    return json_[key];
  }

  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> texts;
    if (!has(key)) return texts;
    if (!json_[key].is_array()) fail(key, "must be a list of strings. Got " + json_[key].dump());
    for (const Json& text : json_[key]) {
      if (!text.is_string()) fail(key, "must be a list of strings. Got " + text.dump());
      texts.push_back(text.get<std::string>());
    }
    return texts;
  }

  /// For fields whose only value that means nothing is null or an empty object.
  void absent(const char* key, const std::string& rule) const {
    if (has(key) && !(json_[key].is_object() && json_[key].empty())) fail(key, rule);
  }

  /// Fields that nobody here knows may change what the others mean.
  void only(const std::set<std::string>& known) const {
    for (const auto& [key, value] : json_.items()) {
      if (!known.count(key)) fail(key, "is not known to cupel");
    }
  }

  [[noreturn]] void fail(const std::string& key, const std::string& rule) const {
    throw FormatError(file_, prefix_ + key, rule + ".");
  }

 private:
  const Json& json_;
  std::string file_, prefix_;
};

}  // namespace cupel
