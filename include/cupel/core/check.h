#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

namespace cupel {

/// Throws std::invalid_argument("[function] parts...") unless `condition` holds. Message form:
/// the rule, a full stop, then what was received ("Got weight [3, 5] in layers.0.q_proj.").
template <typename... Parts>
void check(bool condition, const char* function, const Parts&... parts) {
  if (!condition) throw std::invalid_argument(c10::str("[", function, "] ", parts...));
}

}  // namespace cupel
