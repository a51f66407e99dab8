#include "cupel/core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr uint64_t kLargestTransfer = uint64_t{1} << 30;  // Linux moves at most 2 GiB in one call

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail(const std::string& path, const char* action, int error) {
  throw std::runtime_error(c10::str(printable(path), ": ", action, ": ", reason(error), "."));
}

/// Repeats a system call that a signal interrupted.
template <typename Call>
auto uninterrupted(Call&& call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

/// Removes a temporary file when its writer is gone. The lock decides where process ids cannot:
/// another container may share the folder, and a new process may carry the old one's id.
void remove_if_abandoned(const std::string& path, pid_t writer) {
  if (writer != ::getpid() && !(::kill(writer, 0) == -1 && errno == ESRCH)) return;
  const int descriptor =
      uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW); });
  if (descriptor == -1) return;
  const bool held = ::flock(descriptor, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;
  if (!held) ::unlink(path.c_str());
  ::close(descriptor);
}

void remove_abandoned_temporaries(const std::string& folder, const std::string& prefix) {
  DIR* entries = ::opendir(folder.c_str());
  if (entries == nullptr) return;  // the open that follows gives the error
  while (const dirent* entry = ::readdir(entries)) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(prefix)) continue;
    pid_t writer = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, writer);
    if (error != std::errc() || writer <= 0 || stop == end || *stop != '-') continue;
    remove_if_abandoned(folder + "/" + std::string(name), writer);
  }
  ::closedir(entries);
}

/// A rename is durable only once its folder is.
void sync_folder(const std::string& path, const std::string& folder) {
  const int descriptor =
      uninterrupted([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (descriptor == -1) fail(path, "cannot open its folder", errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // EINVAL: a file system without durable folders, where there is nothing to wait for.
  if (error != 0 && error != EINVAL) fail(path, "cannot make the folder durable", error);
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  if (path.find('\0') != std::string::npos)
    throw FormatError(path, "", "a path must not hold a NUL byte.");
  // O_NONBLOCK: opening a FIFO without a writer must not wait for one.
  descriptor_ = uninterrupted(
      [&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY); });
  if (descriptor_ == -1) throw FormatError(path, "", "cannot be opened: " + reason(errno) + ".");
  struct stat status{};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (error != 0) throw FormatError(path, "", "cannot be read: " + reason(error) + ".");
  throw FormatError(path, "",
                    S_ISDIR(status.st_mode) ? "is a folder, not a file."
                                            : "is not a regular file (a pipe, socket or device).");
}

InputFile::~InputFile() {
  if (descriptor_ != -1) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void InputFile::read(uint64_t offset, void* to, uint64_t bytes) const {
  check(descriptor_ != -1, "InputFile", "the file was moved away.");
  const auto too_short = [&](uint64_t size) {
    return FormatError(path_, c10::str("byte ", offset),
                       c10::str("truncated: ", bytes, " bytes are needed here, and the file is ",
                                size, " bytes long."));
  };
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0)
    throw FormatError(path_, "", "cannot be read: " + reason(errno) + ".");
  const auto now = std::min(size_, static_cast<uint64_t>(status.st_size));
  if (offset > now || bytes > now - offset) throw too_short(now);
  auto* target = static_cast<char*>(to);
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = uninterrupted([&] {
      return ::pread(descriptor_, target + done, std::min(bytes - done, kLargestTransfer),
                     static_cast<off_t>(offset + done));
    });
    if (got == -1) throw FormatError(path_, "", "cannot be read: " + reason(errno) + ".");
    if (got == 0) throw too_short(offset + done);  // shortened since the fstat above
    done += static_cast<uint64_t>(got);
  }
}

std::string read_file(const std::string& path, uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    throw FormatError(
        path, "",
        c10::str("too large: ", file.size(), " bytes, where at most ", limit, " are read."));
  }
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  const auto [folder, name] = split(path);
  check(!name.empty() && path.find('\0') == std::string::npos, "AtomicFile",
        "a file name is needed. Got '", printable(path), "'.");
  const std::string prefix = "." + name + ".tmp-";
  static std::mutex opening;  // between open and flock another thread's clean-up must not look
  const std::lock_guard lock(opening);
  remove_abandoned_temporaries(folder, prefix);
  static uint64_t counter = 0;
  do {  // an existing name is another writer's, or one that could not be removed
    temporary_ = c10::str(folder, "/", prefix, ::getpid(), "-", counter++);
    descriptor_ = uninterrupted(
        [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  } while (descriptor_ == -1 && errno == EEXIST);
  if (descriptor_ == -1) fail(path, "cannot be written", errno);
  ::flock(descriptor_, LOCK_EX | LOCK_NB);  // tells remove_if_abandoned that we live
}

AtomicFile::~AtomicFile() {
  if (descriptor_ != -1) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, uint64_t bytes) {
  check(descriptor_ != -1, "AtomicFile", "nothing can be written after commit(). Got ",
        printable(path_), ".");
  auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = uninterrupted(
        [&] { return ::write(descriptor_, from, std::min(bytes, kLargestTransfer)); });
    if (done == -1) fail(path_, "cannot be written", errno);
    from += done;
    bytes -= static_cast<uint64_t>(done);
  }
}

void AtomicFile::write_at(uint64_t offset, const void* data, uint64_t bytes) {
  check(descriptor_ != -1, "AtomicFile", "nothing can be written after commit(). Got ",
        printable(path_), ".");
  auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = uninterrupted([&] {
      return ::pwrite(descriptor_, from, std::min(bytes, kLargestTransfer),
                      static_cast<off_t>(offset));
    });
    if (done == -1) fail(path_, "cannot be written", errno);
    from += done;
    offset += static_cast<uint64_t>(done);
    bytes -= static_cast<uint64_t>(done);
  }
}

void AtomicFile::commit() {
  check(descriptor_ != -1, "AtomicFile", "commit() is called once. Got ", printable(path_), ".");
  // A failed fsync may have dropped the pages; a second one that succeeds would prove nothing.
  if (::fsync(descriptor_) != 0) fail(path_, "cannot be made durable", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "cannot be replaced", errno);
  temporary_.clear();
  // The bytes are durable already, so what close() reports changes nothing.
  ::close(std::exchange(descriptor_, -1));
  sync_folder(path_, split(path_).first);
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace cupel
