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

/// White space as Python's str.isspace() and the re module's \s have it.
bool is_white_space(char32_t character);

/// The code point of well-formed UTF-8 that begins at byte `at`; its length in bytes goes to
/// `length`. An invalid byte is one of U+FFFD.
char32_t code_point(std::string_view text, std::size_t at, std::size_t& length);

/// Bytes of white space at the end of `text`.
std::size_t trailing_white_space(std::string_view text);

/// `text` without white space at both ends, as Python's str.strip_white_space().
std::string_view strip_white_space(std::string_view text);

/// The longest beginning of `text` of at most `characters` code points.
std::string_view first_characters(std::string_view text, std::size_t characters);

/// Whether Python's re module counts a character as \w: a letter or number of any script, or "_".
bool is_word_character(char32_t character);

/// Lower case of well-formed UTF-8 as Python's str.lower() has it: every script, mappings to several
/// characters, the final sigma. Characters newer than the ICU that cupel runs with stay as they are.
std::string lower_case(std::string_view text);

}  // namespace cupel
