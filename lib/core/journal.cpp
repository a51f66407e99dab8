#include "cupel/core/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr std::string_view kEnd = "{\"batch\":";  // no other line starts like this

[[noreturn]] void fail(const std::string& path, const char* action) {
  const std::string reason = std::generic_category().message(errno);
  throw std::runtime_error(c10::str(printable(path), ": ", action, ": ", reason, "."));
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// What an end line says of the lines before it.
struct End {
  int64_t number;
  bool fits;  // it counts them right, and their bytes have its SHA-256
};

std::optional<End> read_end(std::string_view line, std::string_view bytes, std::size_t lines) {
  try {
    const Json end = parse_json(line, "");
    end.at("time").get_ref<const std::string&>();  // anything but an end line has none
    return End{end.at("batch").get<int64_t>(),
               end.at("lines").get<std::size_t>() == lines &&
                   end.at("sha256").get<std::string>() == sha256(bytes)};
  } catch (const FormatError&) {
    return {};
  } catch (const Json::exception&) {
    return {};
  }
}

struct Parsed {
  JournalContents contents;
  uint64_t good = 0;  // bytes up to the end of the last whole batch, or of the first line
};

Parsed parse(const std::string& text, const std::string& path) {
  Parsed parsed;
  std::optional<int64_t> bad;  // line where a batch could not be trusted
  std::string rule;
  std::vector<std::string> lines;
  std::size_t batch_begin = 0;
  int64_t number = 0, batch_line = 2;
  const auto expected = [&] { return static_cast<int64_t>(parsed.contents.batches.size()); };
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    const std::string_view line(text.data() + begin, end - begin);
    if (++number == 1) {
      parsed.contents.manifest = line;
      parsed.good = batch_begin = end + 1;
      continue;
    }
    // A batch that is not whole may only be the last thing in the file.
    if (bad) throw FormatError(path, c10::str("line ", *bad), rule);
    if (!line.starts_with(kEnd)) {
      lines.emplace_back(line);
      continue;
    }
    const std::string_view bytes(text.data() + batch_begin, begin - batch_begin);
    const auto closed = read_end(line, bytes, lines.size());
    if (closed && closed->fits && closed->number == expected()) {
      parsed.contents.batches.push_back(std::move(lines));
      parsed.good = end + 1;
    } else {
      bad = batch_line;
      rule = c10::str("batch ", expected(), " is damaged: its end line does not fit its lines.");
      // The end of a later batch: this one was whole once.
      if (closed && closed->number != expected()) {
        throw FormatError(path, c10::str("line ", batch_line), rule);
      }
    }
    lines.clear();
    batch_begin = end + 1;
    batch_line = number + 1;
  }
  const std::string_view rest = std::string_view(text).substr(parsed.good);
  parsed.contents.dropped_bytes = static_cast<int64_t>(rest.size());
  for (const char c : rest) parsed.contents.dropped_lines += c == '\n';
  if (!rest.empty() && rest.back() != '\n') ++parsed.contents.dropped_lines;
  return parsed;
}

// What was begun and has no whole first line yet must at least look like JSON: another's file is
// not cut.
void check_begun(const Parsed& parsed, const std::string& text, const std::string& path) {
  if (parsed.good == 0 && !text.empty() && text.front() != '{') {
    throw FormatError(path, "line 1", "is no journal: it starts with a JSON object.");
  }
  if (parsed.good > 0) parse_json(parsed.contents.manifest, path);
}

}  // namespace

struct Journal::File {
  std::string path;
  int descriptor = -1;
  JournalContents contents;
  int64_t batches = 0;
  bool broken = false;

  ~File() {
    if (descriptor != -1) ::close(descriptor);
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t done = ::write(descriptor, bytes.data(), bytes.size());
      if (done == -1 && errno == EINTR) continue;
      if (done == -1) fail(path, "cannot be written");
      bytes.remove_prefix(static_cast<std::size_t>(done));
    }
    // A failed fsync may have dropped the pages: a later one that succeeds would prove nothing.
    if (::fsync(descriptor) != 0) fail(path, "cannot be made durable");
  }

  void cut(uint64_t size) {
    if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0) fail(path, "cannot be cut");
    if (::lseek(descriptor, static_cast<off_t>(size), SEEK_SET) == -1) fail(path, "cannot seek");
    if (::fsync(descriptor) != 0) fail(path, "cannot be made durable");
  }

  void sync_folder() const {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened == -1) fail(path, "cannot open its folder");
    const int error = ::fsync(opened) == 0 ? 0 : errno;
    ::close(opened);
    errno = error;
    // EINVAL: a file system without durable folders, where there is nothing to wait for.
    if (error != 0 && error != EINVAL) fail(path, "cannot make the folder durable");
  }
};

namespace {

// Opens and locks; the lock comes before the first look at the file.
template <typename File>
std::unique_ptr<File> lock(const std::string& path, int flags) {
  auto file = std::make_unique<File>();
  file->path = path;
  file->descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | flags, 0666);
  if (file->descriptor == -1) fail(path, "cannot be opened");
  if (::flock(file->descriptor, LOCK_EX | LOCK_NB) != 0) {
    check(errno != EWOULDBLOCK, "Journal",
          "one process writes a record at a time. Another one is writing ", printable(path), ".");
    fail(path, "cannot be locked");
  }
  return file;
}

}  // namespace

JournalContents read_journal(const std::string& path) {
  const std::string text = read_file(path);
  const Parsed parsed = parse(text, path);
  check_begun(parsed, text, path);
  return parsed.contents;
}

Journal::Journal(std::unique_ptr<File> file) : file_(std::move(file)) {}
Journal::~Journal() = default;
Journal::Journal(Journal&&) noexcept = default;
Journal& Journal::operator=(Journal&&) noexcept = default;

Journal Journal::create(const std::string& path, const std::string& manifest) {
  check(manifest.starts_with('{') && manifest.find('\n') == std::string::npos, "Journal",
        "the first line is one JSON object. Got '", printable(manifest, 60), "'.");
  auto file = lock<File>(path, O_CREAT);
  const std::string text = read_file(path);
  const Parsed parsed = parse(text, path);
  check_begun(parsed, text, path);
  check(parsed.contents.batches.empty(), "Journal", "a journal is started once. Got ",
        printable(path), ", which holds batches.");
  file->cut(0);
  file->write(manifest + "\n");
  file->sync_folder();
  file->contents.manifest = manifest;
  return Journal(std::move(file));
}

Journal Journal::open(const std::string& path,
                      const std::function<void(const JournalContents&)>& accept) {
  auto file = lock<File>(path, 0);
  const std::string text = read_file(path);
  Parsed parsed = parse(text, path);
  check_begun(parsed, text, path);
  if (accept) accept(parsed.contents);
  if (parsed.good < text.size()) file->cut(parsed.good);
  if (::lseek(file->descriptor, 0, SEEK_END) == -1) fail(path, "cannot seek");
  file->batches = static_cast<int64_t>(parsed.contents.batches.size());
  file->contents = std::move(parsed.contents);
  return Journal(std::move(file));
}

const std::string& Journal::path() const { return file_->path; }

const JournalContents& Journal::contents() const { return file_->contents; }

int64_t Journal::batches() const { return file_->batches; }

void Journal::append_batch(const std::vector<std::string>& lines) {
  check(!file_->broken, "Journal", "an earlier batch could not be written to ",
        printable(file_->path), ".");
  check(!lines.empty(), "Journal", "a batch has at least one line.");
  std::string bytes;
  for (const auto& line : lines) {
    check(!line.empty() && line.find('\n') == std::string::npos && !line.starts_with(kEnd),
          "Journal", "a line is one line and no end of a batch. Got '", printable(line, 60), "'.");
    bytes += line + "\n";
  }
  const Json end{{"batch", file_->batches},
                 {"lines", lines.size()},
                 {"sha256", sha256(bytes)},
                 {"time", now()}};
  file_->broken = true;  // until the bytes are safe
  file_->write(bytes + dump_json(end) + "\n");
  file_->broken = false;
  ++file_->batches;
}

}  // namespace cupel
