#include "cupel/text/records.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <new>

#include "core/download_artefact.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "text/json_lines.h"

namespace cupel {

namespace {

constexpr uint64_t kChunk = uint64_t{1} << 18;
constexpr std::size_t kMaxLine = std::size_t{256} << 20;

using LineFunction = std::function<void(int64_t, std::string_view)>;
using ChunkFunction = std::function<void(std::string_view)>;

/// Cuts a stream of chunks into lines; only a line that spans chunks is copied.
class LineSplitter {
 public:
  LineSplitter(const std::string& path, const LineFunction& line) : path_(path), line_(line) {}

  void add(std::string_view chunk) {
    for (std::size_t end; (end = chunk.find('\n')) != std::string_view::npos;) {
      std::string_view text = chunk.substr(0, end);
      chunk.remove_prefix(end + 1);
      if (!rest_.empty()) {
        append(text);
        text = rest_;
      }
      if (text.ends_with('\r')) text.remove_suffix(1);
      line_(++number_, text);
      rest_.clear();
    }
    append(chunk);
  }

  void finish() {
    if (!rest_.empty()) line_(++number_, rest_);
  }

 private:
  void append(std::string_view text) {
    if (rest_.size() + text.size() > kMaxLine)
      throw FormatError(path_, c10::str("line ", number_ + 1), "the line is longer than 256 MB.");
    rest_.append(text);
  }

  const std::string& path_;
  const LineFunction& line_;
  std::string rest_;
  int64_t number_ = 0;
};

/// Unpacks gzip data that comes in pieces: one member or several, zero padding at the end.
class Unpacker {
 public:
  Unpacker(const std::string& path, const ChunkFunction& chunk)
      : path_(path), chunk_(chunk), out_(kChunk, '\0') {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();
  }
  ~Unpacker() { inflateEnd(&stream_); }
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  void add(std::string& data) {
    stream_.next_in = reinterpret_cast<Bytef*>(data.data());
    stream_.avail_in = static_cast<uInt>(data.size());
    const auto offset = [&] { return offset_ + data.size() - stream_.avail_in; };
    do {
      if (ended_ && !next_member()) break;
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
      stream_.avail_out = static_cast<uInt>(out_.size());
      const int code = inflate(&stream_, Z_NO_FLUSH);
      chunk_(std::string_view(out_).substr(0, out_.size() - stream_.avail_out));
      if (code == Z_MEM_ERROR) throw std::bad_alloc();
      if (code == Z_BUF_ERROR) break;  // it needs the next piece
      if (code == Z_STREAM_END) {
        ended_ = true;
      } else if (code != Z_OK) {
        fail(offset(), c10::str("bad gzip data: ", stream_.msg ? stream_.msg : "unknown", "."));
      }
    } while (stream_.avail_in > 0 || stream_.avail_out == 0);
    offset_ += data.size();
  }

  void finish() {
    if (!ended_) fail(offset_, "the gzip data ends too early; the file is cut short.");
  }

 private:
  // After a member: false when this piece holds nothing more to unpack.
  bool next_member() {
    while (stream_.avail_in > 0 && *stream_.next_in == 0) {
      padded_ = true;
      ++stream_.next_in;
      --stream_.avail_in;
    }
    if (stream_.avail_in == 0) return false;
    if (padded_ || *stream_.next_in != 0x1F) fail(offset_, "other bytes follow the gzip data.");
    inflateReset(&stream_);
    ended_ = false;
    return true;
  }

  [[noreturn]] void fail(uint64_t offset, const std::string& rule) const {
    throw FormatError(path_, c10::str("byte ", offset), rule);
  }

  const std::string& path_;
  const ChunkFunction& chunk_;
  std::string out_;
  z_stream stream_{};
  uint64_t offset_ = 0;
  bool ended_ = false, padded_ = false;
};

bool is_gzip(std::string_view head) { return head.starts_with("\x1F\x8B"); }

// What a failed download left is named first. A web page may be meant as text.
void refuse_artefact(const std::string& path, std::string_view head) {
  const std::string rule = download_artefact(head.substr(0, kArtefactBytes));
  if (!rule.empty() && head.find('<') > 8) throw FormatError(path, "", rule);
}

}  // namespace

std::string read_text(const std::string& path) {
  std::string text = read_file(path);
  if (text.empty()) throw FormatError(path, "", "the file is empty.");
  refuse_artefact(path, text);
  if (const auto bad = first_invalid_utf8(text); bad != std::string::npos) {
    const bool utf16 = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
    throw FormatError(path, c10::str("byte ", bad),
                      utf16 ? "not valid UTF-8; it looks like UTF-16." : "not valid UTF-8.");
  }
  return text;
}

void for_each_line(const std::string& path, const LineFunction& line) {
  const InputFile file(path);
  LineSplitter lines(path, line);
  const ChunkFunction add = [&](std::string_view chunk) { lines.add(chunk); };
  std::unique_ptr<Unpacker> unpacker;
  std::string data;
  for (uint64_t offset = 0; offset < file.size(); offset += data.size()) {
    data.resize(std::min(kChunk, file.size() - offset));
    file.read(offset, data.data(), data.size());
    if (offset == 0 && is_gzip(data)) {
      unpacker = std::make_unique<Unpacker>(path, add);
    } else if (offset == 0) {
      refuse_artefact(path, data);
    }
    if (unpacker) {
      unpacker->add(data);
    } else {
      lines.add(data);
    }
  }
  if (unpacker) unpacker->finish();
  lines.finish();
}

std::vector<std::string> read_jsonl_field(const std::string& path, const std::string& field) {
  std::vector<std::string> values;
  for_each_json_line(path, [&](int64_t number, Json& record) {
    const std::string where = c10::str("line ", number);
    const auto entry = record.find(field);
    if (entry == record.end()) {
      std::string names;
      for (const auto& item : record.items()) names += (names.empty() ? "" : ", ") + item.key();
      throw FormatError(path, where,
                        c10::str("there is no field \"", field, "\". Got {", names, "}."));
    }
    if (!entry->is_string())
      throw FormatError(
          path, where,
          c10::str("the field \"", field, "\" must be a string. Got ", entry->type_name(), "."));
    values.push_back(std::move(entry->get_ref<std::string&>()));
  });
  return values;
}

}  // namespace cupel
