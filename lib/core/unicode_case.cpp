// What needs tables of the whole of Unicode, which are ICU's.
#include <unicode/uchar.h>
#include <unicode/ucasemap.h>

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

// No language: Turkish and Lithuanian have mappings of their own, which Python does not use.
const UCaseMap* case_map() {
  static const UCaseMap* map = [] {
    UErrorCode status = U_ZERO_ERROR;
    const UCaseMap* opened = ucasemap_open("", 0, &status);
    check(U_SUCCESS(status), "lower_case", "ICU must work. Got ", u_errorName(status), ".");
    return opened;
  }();
  return map;
}

}  // namespace

bool is_word_character(char32_t character) {
  return character == '_' ||
         (U_GET_GC_MASK(static_cast<UChar32>(character)) & (U_GC_L_MASK | U_GC_N_MASK)) != 0;
}

std::string lower_case(std::string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  std::string lower(text);
  if (ascii) {
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return lower;
  }
  check(text.size() < std::size_t{1} << 30, "lower_case", "a text has less than 1 GB. Got ",
        text.size(), " bytes.");
  // Two bytes can become three.
  lower.resize(text.size() / 2 * 3 + 8);
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size =
      ucasemap_utf8ToLower(case_map(), lower.data(), static_cast<int32_t>(lower.size()),
                           text.data(), static_cast<int32_t>(text.size()), &status);
  check(U_SUCCESS(status), "lower_case", "a text is well-formed UTF-8. Got ", u_errorName(status),
        ".");
  lower.resize(static_cast<std::size_t>(size));
  return lower;
}

}  // namespace cupel
