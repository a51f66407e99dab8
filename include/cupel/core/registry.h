#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cupel/core/check.h"

namespace cupel {

/// Named values of one kind (criteria, quantizers, architectures, tasks). Thread-safe.
template <typename Value>
class Registry {
 public:
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  /// Adds `value` under `name`; throws std::invalid_argument when the name is taken.
  void add(const std::string& name, Value value) {
    const std::lock_guard lock(mutex_);
    check(!name.empty(), "registry", "a ", kind_, " needs a name.");
    check(values_.emplace(name, std::move(value)).second, "registry", kind_,
          " names are unique. Got '", name, "' a second time.");
  }

  /// Forgets `name`; an unknown name is an error.
  void remove(const std::string& name) {
    const std::lock_guard lock(mutex_);
    check(values_.erase(name) == 1, "registry", "unknown ", kind_, ". Got '", name, "'.");
  }

  /// The value called `name`; the error for an unknown one lists what is known.
  Value get(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(name);
    if (found != values_.end()) return found->second;
    std::string known;
    for (const auto& [key, value] : values_) known += (known.empty() ? "" : ", ") + key;
    throw std::invalid_argument(
        c10::str("[cupel] unknown ", kind_, " '", name, "'; known: ", known, "."));
  }

  /// All names, sorted.
  std::vector<std::string> names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [key, value] : values_) names.push_back(key);
    return names;
  }

 private:
  std::string kind_;
  mutable std::mutex mutex_;
  std::map<std::string, Value> values_;
};

}  // namespace cupel
