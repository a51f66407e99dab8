#include "checkpoint/json_cursor.h"

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

void append_utf8(std::string& out, uint32_t code) {
  const auto byte = [&](uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
  } else {
    byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 0x3F));
    byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

void JsonCursor::fail(const std::string& rule) const {
  std::string where = c10::str("header byte ", at_);
  if (tensor_ != nullptr) where += ", tensor \"" + printable(*tensor_, 120) + "\"";
  throw FormatError(file_, where, rule);
}

std::string JsonCursor::next_token() const {
  if (at_ >= text_.size()) return "the end of the header";
  const std::size_t end = text_.find_first_of(",:]}\n", at_ + 1);
  return "'" + printable(text_.substr(at_, std::min<std::size_t>(end - at_, 24))) + "'";
}

void JsonCursor::skip_space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

bool JsonCursor::accept(char c) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void JsonCursor::expect(char c, const char* subject) {
  if (accept(c)) return;
  fail(c10::str("not valid JSON for a header: ", subject, " needs '", c, "'. Got ", next_token(),
                "."));
}

std::string JsonCursor::string(const char* subject) {
  if (!accept('"')) fail(c10::str(subject, " must be a string. Got ", next_token(), "."));
  std::string out;
  for (;;) {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20)
      ++at_;
    out.append(text_.substr(start, at_ - start));
    if (at_ >= text_.size()) fail("not valid JSON: a string without its closing quote.");
    const char c = text_[at_];
    if (static_cast<unsigned char>(c) < 0x20)
      fail("not valid JSON: a control character inside a string must be escaped.");
    ++at_;
    if (c == '"') return out;
    append_escape(out);
  }
}

void JsonCursor::append_escape(std::string& out) {
  static constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
  const char c = peek();
  if (const auto which = names.find(c); which != std::string_view::npos) {
    ++at_;
    out += values[which];
    return;
  }
  if (c != 'u') fail("not valid JSON: an unknown escape in a string.");
  ++at_;
  uint32_t code = hex4();
  if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
    at_ += 2;
    const uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("not valid UTF-8: a lone surrogate in a string.");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xD800 && code <= 0xDFFF) {
    fail("not valid UTF-8: a lone surrogate in a string.");
  }
  append_utf8(out, code);
}

uint32_t JsonCursor::hex4() {
  uint32_t code = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = peek(), lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f'))
      fail("not valid JSON: \\u needs four hexadecimal digits.");
    code = code * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
  }
  return code;
}

std::string JsonCursor::key() {
  std::string name = string("a key");
  expect(':', "a key");
  return name;
}

uint64_t JsonCursor::integer(const char* subject, uint64_t limit) {
  skip_space();
  const auto wrong = [&] {
    fail(c10::str(subject, " must be a non-negative integer. Got ", next_token(), "."));
  };
  if (!is_digit(peek())) wrong();
  std::size_t end = at_;
  while (end < text_.size() && is_digit(text_[end])) ++end;
  if (end < text_.size() && std::string_view(".eExX").find(text_[end]) != std::string_view::npos)
    wrong();
  const std::string_view digits = text_.substr(at_, end - at_);
  if (digits.size() > 1 && digits[0] == '0')
    fail(c10::str(subject, " must not have a leading zero."));
  uint64_t value = 0;
  for (const char c : digits) {
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (limit - digit) / 10)
      fail(c10::str(subject, " overflows: at most ", limit, ". Got ", next_token(), "."));
    value = value * 10 + digit;
  }
  at_ = end;
  return value;
}

void JsonCursor::finish() {
  skip_space();
  if (at_ < text_.size())
    fail("only spaces may follow the header's object. Got " + next_token() + ".");
}

}  // namespace cupel
