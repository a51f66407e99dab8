#include "eval/degenerate.h"

#include <algorithm>

#include "cupel/core/unicode.h"

namespace cupel {

bool is_blank(const std::string& text) { return trailing_white_space(text) == text.size(); }

bool ends_in_repetition(const std::vector<int64_t>& ids) {
  constexpr std::size_t longest = 32, times = 4, least = 24;
  for (std::size_t period = 1; period <= longest && period < ids.size(); ++period) {
    std::size_t same = 0;  // tokens at the end that equal the one a period before
    while (same + period < ids.size() &&
           ids[ids.size() - 1 - same] == ids[ids.size() - 1 - same - period]) {
      ++same;
    }
    if (same + period >= std::max(times * period, least)) return true;
  }
  return false;
}

}  // namespace cupel
