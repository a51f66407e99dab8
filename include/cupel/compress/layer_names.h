#pragma once

#include <string>
#include <vector>

namespace cupel {

/// Does `pattern` choose the layer `name`? Exact name, glob with * and ?, or "re:<pattern>"
/// (PCRE2, matched from the start of the name, with a match limit).
bool matches_layer(const std::string& pattern, const std::string& name);

/// The names that match any of `patterns`; a pattern that matches none is a std::invalid_argument
/// that shows some of the names.
std::vector<std::string> select_layers(const char* option, const std::vector<std::string>& patterns,
                                       const std::vector<std::string>& names);

}  // namespace cupel
