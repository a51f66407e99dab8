#pragma once

#include <string>

#include "cupel/compress/compress_model.h"

namespace cupel {

/// `record` (a JSON array, or "") with this run added; holds nothing that varies between runs, so
/// that the same compression writes the same cupel.json.
std::string append_record(const std::string& record, const CompressionResult& result);

}  // namespace cupel
