#include "text/text_parts.h"

#include <algorithm>

namespace cupel {

namespace {

// The first space at or behind `from` that the text may be cut at, npos if there is none.
std::size_t find_cut(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find(' ', from); at != std::string_view::npos;
       at = text.find(' ', at + 1)) {
    const std::string_view before = text.substr(0, at);
    // A literal U+2581 is a space to the model. The last space stays where it is, as an empty part
    // would be given no space back.
    if (!before.empty() && !before.ends_with(' ') && !before.ends_with("\xE2\x96\x81") &&
        at + 1 < text.size())
      return at;
  }
  return std::string_view::npos;
}

}  // namespace

std::vector<std::string_view> text_parts(std::string_view text, std::size_t least,
                                         bool dummy_prefix) {
  std::vector<std::string_view> parts;
  for (std::size_t cut = 0; (cut = find_cut(text, least)) != std::string_view::npos;) {
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(cut + (dummy_prefix ? 1 : 0));
  }
  parts.push_back(text);
  return parts;
}

}  // namespace cupel
