#pragma once

#include <stdexcept>
#include <string>

namespace cupel {

/// A bad file: which file, where in it (tensor, field, offset or line; may be empty), which rule.
/// Control characters of the file's own text are escaped in what(). Python: also a ValueError.
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& file, const std::string& where, const std::string& rule);
  const std::string& file() const { return file_; }
  const std::string& where() const { return where_; }
  const std::string& rule() const { return rule_; }

 private:
  std::string file_, where_, rule_;
};

/// Numbers that cannot be worked with: no tokens, NaN weights, non-finite activations. The message
/// names the layer, what was seen and what to try. Python: also an ArithmeticError.
class NumericalError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A progress callback asked to stop. Python: KeyboardInterrupt.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("[cupel] cancelled by the progress callback.") {}
};

}  // namespace cupel
