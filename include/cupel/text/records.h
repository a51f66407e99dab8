#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cupel {

/// The text of a UTF-8 file. FormatError names the offset of the first invalid byte, and an empty
/// file.
std::string read_text(const std::string& path);

/// One string field of each record of a .jsonl or .jsonl.gz file (one JSON object a line; empty
/// lines are skipped). FormatError names file, line and rule: bad JSON, no such field, not a
/// string, a truncated gzip stream.
std::vector<std::string> read_jsonl_field(const std::string& path,
                                          const std::string& field = "text");

/// Calls `line(number, text)` for each line of a plain or gzip file (by its content, not its name);
/// numbers start at 1, the line end is not part of the text.
void for_each_line(const std::string& path,
                   const std::function<void(int64_t number, std::string_view text)>& line);

}  // namespace cupel
