#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace cupel {

/// A regular expression, compiled once. Its text may come from a file: matching is limited to
/// `steps`, so that no expression can hang the caller.
class Regex {
 public:
  /// std::invalid_argument when `pattern` is no expression.
  explicit Regex(const std::string& pattern, uint32_t steps = 1'000'000);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Does it match at the start of `text` (not up to the end), as Python's re.match?
  /// std::invalid_argument when that takes more than `steps`.
  bool matches(const std::string& text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cupel
