#pragma once

// Strict JSON. Lives in lib, not in include: nlohmann-json is private to the library.
#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace cupel {

using Json = nlohmann::ordered_json;

/// Parses JSON text of the file `file`. FormatError (byte offset and rule) on anything that is not
/// one UTF-8 JSON value without BOM: duplicate keys in any object (after unescaping), nesting
/// deeper than 64, NaN or Infinity, trailing bytes, a top level other than an object if
/// `object` is set.
Json parse_json(std::string_view text, const std::string& file, bool object = true);

/// Reads and parses a JSON file of at most 100 MB.
Json read_json(const std::string& path);

/// Compact and stable text of a value (invalid UTF-8 replaced, keys in insertion order).
std::string dump_json(const Json& value, int indent = -1);

}  // namespace cupel
