#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cupel {

/// What a journal holds.
struct JournalContents {
  std::string manifest;                           ///< the first line
  std::vector<std::vector<std::string>> batches;  ///< the lines of each whole batch
  int64_t dropped_bytes = 0;                      ///< behind the last whole batch
  int64_t dropped_lines = 0;                      ///< the same in lines, a begun one included
};

/// Reads a journal without changing it. FormatError naming file and line for anything else than
/// batches that a Journal wrote and, at the end, the beginning of one more.
JournalContents read_journal(const std::string& path);

/// A file of lines that loses at most the batch at hand when its writer dies at any moment.
///
/// The first line says what the file is about. Lines follow in batches, each closed by an end line
/// with its number, its lines and the SHA-256 of their bytes (line ends included), which is on the
/// disk before append_batch() returns:
///   {"batch":0,"lines":2,"sha256":"...","time":"2031-01-31T12:00:00Z"}
/// Its time is the only thing in it that differs between two runs. One process writes a journal at
/// a time: it holds a lock (flock) for as long as it lives.
///
/// std::runtime_error with path and errno text when the file cannot be written.
class Journal {
 public:
  /// Starts a journal. std::invalid_argument when `path` holds a batch already or another process
  /// writes it; FormatError when it is no journal. The folder must exist.
  static Journal create(const std::string& path, const std::string& manifest);

  /// Opens a journal to go on. What follows the last whole batch is cut off and counted; a file
  /// whose writer died before the first line was whole has an empty manifest. `accept` sees the
  /// contents before anything is changed and may throw. FormatError as read_journal();
  /// std::invalid_argument when another process writes it.
  static Journal open(const std::string& path,
                      const std::function<void(const JournalContents&)>& accept = {});

  ~Journal();
  Journal(Journal&&) noexcept;
  Journal& operator=(Journal&&) noexcept;

  const std::string& path() const;
  /// As it was when the journal was opened.
  const JournalContents& contents() const;
  /// Batches now in the file.
  int64_t batches() const;

  /// Writes `lines` (not empty, without line ends, none starting with {"batch":) and an end line,
  /// durably. When that fails the journal takes no more batches.
  void append_batch(const std::vector<std::string>& lines);

 private:
  struct File;
  explicit Journal(std::unique_ptr<File> file);
  std::unique_ptr<File> file_;
};

}  // namespace cupel
