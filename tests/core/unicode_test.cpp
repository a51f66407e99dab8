#include "cupel/core/unicode.h"

#include "support/catch.h"

#include <string>
#include <string_view>

using namespace cupel;
using namespace std::literals;

TEST_CASE("unicode: well-formed text has no invalid byte", "[core]") {
  const auto none = std::string_view::npos;
  for (const auto text :
       {""sv, "plain"sv, "\0"sv, "\u00e9"sv, "\u4e2d\u6587"sv, "\U0001F600"sv, "\xED\x9F\xBF"sv,
        "\xEE\x80\x80"sv, "\xF4\x8F\xBF\xBF"sv, "\xEF\xBF\xBF"sv}) {
    CAPTURE(std::string(text));
    CHECK(first_invalid_utf8(text) == none);
  }
}

TEST_CASE("unicode: the first ill-formed byte is found", "[core]") {
  CHECK(first_invalid_utf8("ab\x80"sv) == 2);     // lone continuation
  CHECK(first_invalid_utf8("a\xC0\x80"sv) == 1);  // overlong, two bytes
  CHECK(first_invalid_utf8("\xC1\xBF"sv) == 0);
  CHECK(first_invalid_utf8("\xE0\x9F\xBF"sv) == 0);      // overlong, three bytes
  CHECK(first_invalid_utf8("\xF0\x8F\xBF\xBF"sv) == 0);  // overlong, four bytes
  CHECK(first_invalid_utf8("abc\xED\xA0\x80"sv) == 3);   // surrogate
  CHECK(first_invalid_utf8("\xF4\x90\x80\x80"sv) == 0);  // above U+10FFFF
  CHECK(first_invalid_utf8("\xF5\x80\x80\x80"sv) == 0);
  CHECK(first_invalid_utf8("\u00e9\xE4\xB8"sv) == 2);  // cut short
  CHECK(first_invalid_utf8("\xFF"sv) == 0);
}

TEST_CASE("unicode: printable text holds no control byte and keeps the rest", "[core]") {
  CHECK(printable("layers.0 \u00e9 \U0001F600") == "layers.0 \u00e9 \U0001F600");
  CHECK(printable("a\x1b[31m\n\t\x7f") == "a\\x1b[31m\\x0a\\x09\\x7f");
  CHECK(printable("a\0b"sv) == "a\\x00b");
  CHECK(printable("\xC2\x9B"sv) == "\\xc2\\x9b");  // U+009B starts a terminal sequence
  CHECK(printable("\xFFz"sv) == "\\xffz");
}

TEST_CASE("unicode: printable text is cut at a character", "[core]") {
  CHECK(printable("aaaaaa", 3) == "aaa...");
  CHECK(printable("aaa", 3) == "aaa");
  CHECK(first_invalid_utf8(printable("\u4e2d\u4e2d\u4e2d", 4)) == std::string_view::npos);
}

TEST_CASE("unicode: lower case of every script, as Python has it", "[core]") {
  CHECK(lower_case("ABC xyz 1_Z") == "abc xyz 1_z");
  CHECK(lower_case("").empty());
  CHECK(lower_case("\u00c9COLE Stra\u00dfe \u1e9e") == "\u00e9cole stra\u00dfe \u00df");
  CHECK(lower_case("\u0130I") == "i\u0307i");  // one becomes two
  CHECK(lower_case("\u039f\u03a3 \u03a3") ==
        "\u03bf\u03c2 \u03c3");  // a sigma at the end of a word
  CHECK(lower_case("\u039f\u03a3.") == "\u03bf\u03c2.");
  CHECK(lower_case("\u039f\u03a3\u0301\u0391") == "\u03bf\u03c3\u0301\u03b1");
  CHECK(lower_case("\U00010400\u6771") == "\U00010428\u6771");
  std::string grows;  // each from 2 bytes to 3
  for (int i = 0; i < 1000; ++i) grows += "\u023a";
  CHECK(lower_case(grows).size() == 3000);
}

TEST_CASE("unicode: word characters, white space at both ends, beginnings", "[core]") {
  for (const char32_t c : {U'a', U'Z', U'0', U'_', U'\u00e9', U'\u6771', U'\u0663', U'\u00b2'}) {
    CHECK(is_word_character(c));
  }
  for (const char32_t c : {U' ', U'-', U'\'', U'\u0301', U'\u201c', U'\u20ac'}) {
    CHECK_FALSE(is_word_character(c));
  }
  CHECK(strip_white_space(" \t\u3000a b\u00a0\x1c") == "a b");
  CHECK(strip_white_space("\u2003 \n").empty());
  CHECK(strip_white_space("").empty());
  CHECK(first_characters("a\u00e9\u6771z", 3) == "a\u00e9\u6771");
  CHECK(first_characters("a\u00e9", 0).empty());
  CHECK(first_characters("a\u00e9", 9) == "a\u00e9");
}
