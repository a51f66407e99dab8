#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cupel {

/// Reads the strict JSON subset of a safetensors header from left to right: objects, strings and
/// non-negative integers. A header may be 100 MB of hostile text; here every rule is checked as the
/// bytes come by, nothing is held but what the caller keeps, and depth is that of the schema.
class JsonCursor {
 public:
  JsonCursor(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  /// The tensor that messages name from here on; nullptr for none. Kept as a pointer, so that text
  /// for messages is built only when one is needed.
  void set_tensor(const std::string* name) { tensor_ = name; }

  /// Skips white space; true, and past it, when `c` comes next.
  bool accept(char c);
  /// Like accept, else a FormatError that `subject` needs `c`.
  void expect(char c, const char* subject);
  /// A string, unescaped; `subject` names it in messages.
  std::string string(const char* subject);
  /// A key and its colon.
  std::string key();
  /// A JSON integer >= 0 of at most `limit`: no sign, fraction, exponent or leading zero.
  uint64_t integer(const char* subject, uint64_t limit);
  /// Only white space may remain.
  void finish();

  [[noreturn]] void fail(const std::string& rule) const;

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  std::string next_token() const;
  void skip_space();
  void append_escape(std::string& out);
  uint32_t hex4();

  std::string_view text_;
  const std::string& file_;
  const std::string* tensor_ = nullptr;
  std::size_t at_ = 0;
};

}  // namespace cupel
