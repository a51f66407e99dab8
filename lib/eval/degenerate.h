#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cupel {

/// Nothing but white space.
bool is_blank(const std::string& text);

/// A piece of at most 32 tokens stands at the end four times in a row or more, over 24 tokens or
/// more.
bool ends_in_repetition(const std::vector<int64_t>& ids);

}  // namespace cupel
