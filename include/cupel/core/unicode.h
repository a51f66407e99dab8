#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cupel {

/// Offset of the first byte that is not well-formed UTF-8 (overlong forms, surrogates and values
/// above U+10FFFF are not), or std::string_view::npos.
std::size_t first_invalid_utf8(std::string_view text);

/// `text` made safe to print: control characters and invalid bytes become \xNN, and anything past
/// `limit` bytes is cut with an ellipsis. Names from a file pass through this before a message.
std::string printable(std::string_view text, std::size_t limit = 400);

}  // namespace cupel
