#pragma once

#include <cstddef>
#include <cstdint>
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

/// One record of a CSV file.
struct CsvRecord {
  int64_t line = 0;  ///< where it begins, from 1
  std::vector<std::string> fields;
};

/// The records of a CSV file (RFC 4180: fields between commas, quoted where they hold commas, quotes
/// or line ends; lines end in LF or CRLF, the last one perhaps in nothing). Each has `columns`
/// fields; the file has no header line. A BOM and empty lines are skipped, and CRLF within a field
/// becomes LF, as in Python's text files. No word means "missing": "None" is text. A quote inside a
/// field that does not begin with one is a character of it, as Python's csv module has it.
///
/// FormatError names file, line of the record's beginning and rule: an empty file, another number of
/// fields, a quote that is not closed, text behind a closing quote, a carriage return of its own
/// outside of quotes, invalid UTF-8.
std::vector<CsvRecord> read_csv(const std::string& path, std::size_t columns);

}  // namespace cupel
