#include "text/json_lines.h"

#include <string_view>

#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/text/records.h"

namespace cupel {

void for_each_json_line(const std::string& path,
                        const std::function<void(int64_t number, Json& object)>& line) {
  for_each_line(path, [&](int64_t number, std::string_view text) {
    if (trailing_white_space(text) == text.size()) return;
    Json object;
    try {
      object = parse_json(text, path);
    } catch (const FormatError& error) {
      throw FormatError(path, c10::str("line ", number, ", ", error.where()), error.rule());
    }
    line(number, object);
  });
}

}  // namespace cupel
