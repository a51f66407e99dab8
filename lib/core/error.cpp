#include "cupel/core/error.h"

#include "cupel/core/unicode.h"

namespace cupel {

namespace {
std::string message(const std::string& file, const std::string& where, const std::string& rule) {
  constexpr std::size_t limit = 2000;  // a rule may list names
  std::string text = printable(file) + ": ";
  if (!where.empty()) text += printable(where) + ": ";
  return text + printable(rule, limit);
}
}  // namespace

FormatError::FormatError(const std::string& file, const std::string& where, const std::string& rule)
    : std::runtime_error(message(file, where, rule)), file_(file), where_(where), rule_(rule) {}

}  // namespace cupel
