#include <algorithm>

#include "core/download_artefact.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "cupel/text/records.h"

namespace cupel {

namespace {

class CsvReader {
 public:
  CsvReader(const std::string& path, std::string_view text)
      : path_(path), text_(text), invalid_(first_invalid_utf8(text)) {
    if (text.substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;
  }

  // False at the end of the file.
  bool next(CsvRecord& record, std::size_t columns) {
    while (at_line_end()) end_line();
    if (at_ >= text_.size()) return false;
    record.line = begin_ = line_;
    record.fields.clear();
    do {
      const bool quote = at_ < text_.size() && text_[at_] == '"';
      record.fields.push_back(quote ? quoted() : plain());
    } while (take_comma());
    // Before the count: a byte that is no text may stand where a comma or quote was.
    if (invalid_ < at_) {
      fail(c10::str("not valid UTF-8, at byte ", invalid_, " of the file.",
                    text_.substr(0, 2) == "\xFF\xFE" || text_.substr(0, 2) == "\xFE\xFF"
                        ? " It looks like UTF-16."
                        : ""));
    }
    if (record.fields.size() != columns) {
      fail(c10::str("a record has ", columns, " fields. Got ", record.fields.size(), "."));
    }
    if (at_line_end()) end_line();
    return true;
  }

 private:
  bool at_line_end() const {
    return at_ < text_.size() && (text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n");
  }

  void end_line() {
    at_ += text_[at_] == '\n' ? 1 : 2;
    ++line_;
  }

  bool take_comma() {
    if (at_ >= text_.size() || text_[at_] != ',') return false;
    ++at_;
    return true;
  }

  std::string plain() {
    // A quote in it is a character: MMLU has a field that only ends in one.
    const std::size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
    const std::string field(text_.substr(at_, end - at_));
    at_ = end;
    if (at_ < text_.size() && text_[at_] != ',' && !at_line_end()) {
      fail("a carriage return outside of quotes ends a line, together with a line feed.");
    }
    return field;
  }

  std::string quoted() {
    std::string field;
    for (++at_;; ++at_) {
      const std::size_t end = text_.find_first_of("\"\r\n", at_);
      if (end == std::string_view::npos) {
        fail(c10::str("a quoted field ends in a quote. Got '",
                      printable(field + std::string(text_.substr(at_)), 60),
                      "' until the end of the file."));
      }
      field += text_.substr(at_, end - at_);
      at_ = end;
      if (text_[at_] == '"') {
        if (text_.substr(at_, 2) != "\"\"") break;
        ++at_;
        field += '"';
      } else if (at_line_end()) {
        if (text_[at_] == '\r') ++at_;
        ++line_;
        field += '\n';
      } else {
        field += '\r';
      }
    }
    ++at_;
    if (at_ < text_.size() && text_[at_] != ',' && !at_line_end()) {
      fail(c10::str("a comma or a line end follows a quoted field. Got '",
                    printable(text_.substr(at_, 20), 60), "' behind '", printable(field, 60),
                    "'."));
    }
    return field;
  }

  [[noreturn]] void fail(const std::string& rule) const {
    throw FormatError(path_, c10::str("line ", begin_), rule);
  }

  const std::string& path_;
  std::string_view text_;
  std::size_t invalid_, at_ = 0;
  int64_t line_ = 1, begin_ = 1;
};

}  // namespace

std::vector<CsvRecord> read_csv(const std::string& path, std::size_t columns) {
  const std::string text = read_file(path);
  const std::string artefact = download_artefact(std::string_view(text).substr(0, kArtefactBytes));
  if (!artefact.empty()) throw FormatError(path, "line 1", artefact);
  CsvReader reader(path, text);
  std::vector<CsvRecord> records;
  for (CsvRecord record; reader.next(record, columns);) records.push_back(record);
  if (records.empty()) throw FormatError(path, "line 1", "there is no record in the file.");
  return records;
}

}  // namespace cupel
