#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/json.h"

namespace cupel {

/// Calls line(number, object) for every line of a JSONL file that is not white space, numbers from 1.
/// FormatError naming file and line on what is no strict JSON object.
void for_each_json_line(const std::string& path,
                        const std::function<void(int64_t number, Json& object)>& line);

}  // namespace cupel
