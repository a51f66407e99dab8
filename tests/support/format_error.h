#pragma once

#include "support/catch.h"

#include <string>
#include <string_view>

#include "cupel/core/error.h"

namespace cupel::test {

/// Requires that `call` throws a FormatError whose message names `file` and `rule` and can be
/// printed on a terminal without harm.
template <typename Call>
void require_format_error(Call&& call, const std::string& file, const std::string& rule) {
  std::string message;
  try {
    call();
  } catch (const FormatError& error) {
    message = error.what();
  }
  INFO("message: " << message);
  REQUIRE_FALSE(message.empty());  // empty: no FormatError was thrown
  CHECK_THAT(message, Catch::Contains(file));
  CHECK_THAT(message, Catch::Contains(rule));
  for (const unsigned char byte : message) {
    if (byte < 0x20 || byte == 0x7F) FAIL_CHECK("control byte " << int{byte});
  }
}

}  // namespace cupel::test
