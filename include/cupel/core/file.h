#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace cupel {

/// A regular file opened for reading with pread. Never blocks on a FIFO or device, never maps the
/// file: one that another process truncates gives a FormatError, not SIGBUS. Move-only.
class InputFile {
 public:
  /// Throws FormatError when the path is missing, a folder, or not a regular file.
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  /// Fills `bytes` bytes at `to` from `offset`; FormatError when the file has become shorter.
  void read(uint64_t offset, void* to, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// The whole of a file as bytes; FormatError above `limit` bytes.
std::string read_file(const std::string& path, uint64_t limit = uint64_t{1} << 32);

/// Writes a file so that a reader sees the old one or the whole new one, never half: a temporary
/// name in the same folder, fsync, rename, fsync of the folder. The temporary file is removed when
/// commit() was not reached. Throws std::runtime_error with path and errno text.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, uint64_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Writes at a position of its own; write() goes on from where write() was.
  void write_at(uint64_t offset, const void* data, uint64_t bytes);
  /// Makes the file visible under its name, durably.
  void commit();

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
};

/// AtomicFile in one call.
void write_file(const std::string& path, std::string_view text);

/// FIPS 180-4 SHA-256, for provenance.
class Sha256 {
 public:
  Sha256();
  void update(const void* data, std::size_t bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  std::string hex();  ///< 64 lower-case digits; ends the use of the object

 private:
  void block(const unsigned char* data);
  uint32_t state_[8];
  unsigned char buffer_[64];
  uint64_t length_ = 0;
};

std::string sha256(std::string_view text);

}  // namespace cupel
