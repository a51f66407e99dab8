#include "cupel/core/unicode.h"

namespace cupel {

namespace {

// Length of the well-formed sequence at `i` (Unicode standard, table 3-7), or 0.
std::size_t sequence_length(std::string_view s, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(s[k]); };
  const auto tail = [&](std::size_t k, unsigned low = 0x80, unsigned high = 0xBF) {
    return k < s.size() && byte(k) >= low && byte(k) <= high;
  };
  const unsigned a = byte(i);
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return tail(i + 1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    const unsigned low = a == 0xE0 ? 0xA0 : 0x80, high = a == 0xED ? 0x9F : 0xBF;
    return tail(i + 1, low, high) && tail(i + 2) ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    const unsigned low = a == 0xF0 ? 0x90 : 0x80, high = a == 0xF4 ? 0x8F : 0xBF;
    return tail(i + 1, low, high) && tail(i + 2) && tail(i + 3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::size_t first_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::string printable(std::string_view text, std::size_t limit) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= limit) return out + "...";
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = sequence_length(text, i);
    // U+0080..U+009F are control characters too; terminals act on them.
    const bool c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (length == 0 || byte < 0x20 || byte == 0x7F || c1) {
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      i += 1;
    } else {
      out.append(text.substr(i, length));
      i += length;
    }
  }
  return out;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

char32_t code_point(std::string_view text, std::size_t at, std::size_t& length) {
  length = sequence_length(text, at);
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[at + k]); };
  if (length == 0) {
    length = 1;
    return 0xFFFD;
  }
  if (length == 1) return byte(0);
  char32_t value = byte(0) & (0x7FU >> length);
  for (std::size_t k = 1; k < length; ++k) value = value << 6 | (byte(k) & 0x3FU);
  return value;
}

std::size_t trailing_white_space(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t at = end - 1, length = 0;
    while (at > 0 && end - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!is_white_space(code_point(text, at, length)) || at + length != end) break;
    end = at;
  }
  return text.size() - end;
}

std::string_view strip_white_space(std::string_view text) {
  text.remove_suffix(trailing_white_space(text));
  for (std::size_t length = 0; !text.empty() && is_white_space(code_point(text, 0, length));) {
    text.remove_prefix(length);
  }
  return text;
}

std::string_view first_characters(std::string_view text, std::size_t characters) {
  std::size_t at = 0;
  for (std::size_t length = 0; characters > 0 && at < text.size(); --characters, at += length) {
    code_point(text, at, length);
  }
  return text.substr(0, at);
}

}  // namespace cupel
