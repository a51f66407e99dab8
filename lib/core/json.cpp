#include "core/json.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>
#include <vector>

#include "core/download_artefact.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr uint64_t kMaxFileBytes = 100'000'000;

/// Reads characters and remembers how far the parser has come, for messages.
struct TrackingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  TrackingIterator& operator++() {
    *reached = ++at;
    return *this;
  }
  bool operator==(const TrackingIterator& other) const { return at == other.at; }
  bool operator!=(const TrackingIterator& other) const { return at != other.at; }
};

/// Builds a Json from the parser's events, with the rules that nlohmann's own builder lacks. A
/// stack of open containers instead of recursion: depth costs no call stack. Pointers into the
/// stack stay valid, since a container does not grow while one of its children is open.
class StrictBuilder {
 public:
  StrictBuilder(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  const char** reached() { return &reached_; }
  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }  // text never holds any
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    Level& level = open_.back();
    level.key_offsets.push_back(offset() - std::min(offset(), name.size() + 2));
    members(level).emplace_back(std::move(name), Json());
    return true;
  }

  bool end_object() {
    check_unique(open_.back());
    return close();
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..."
    std::string reason = error.what();
    for (const char* mark : {"] ", "column "}) {
      if (const auto at = reason.find(mark); at != std::string::npos)
        reason.erase(0, at + std::string_view(mark).size());
    }
    if (const auto at = reason.find(": "); at != std::string::npos) reason.erase(0, at + 2);
    fail(position > 0 ? position - 1 : 0, "not valid JSON: " + printable(reason, 160) + ".");
  }

  [[noreturn]] void fail(std::size_t offset, const std::string& rule) const {
    throw FormatError(file_, c10::str("byte ", offset), rule);
  }

 private:
  struct Level {
    Json* value;
    std::vector<std::size_t> key_offsets;  // of an object's keys, as they came
  };

  // The vector under ordered_map: appending to it skips the map's own search, which is linear.
  static Json::object_t::Container& members(Level& level) {
    return level.value->get_ref<Json::object_t&>();
  }

  std::size_t offset() const { return reached_ == nullptr ? 0 : reached_ - text_.data(); }

  Json* place(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Level& level = open_.back();
    if (level.value->is_array()) {
      level.value->push_back(std::move(value));
      return &level.value->back();
    }
    return &(members(level).back().second = std::move(value));
  }

  bool add(Json&& value) {
    place(std::move(value));
    return true;
  }

  bool open(Json&& container) {
    if (open_.size() == kMaxDepth)
      fail(offset(), c10::str("nested deeper than ", kMaxDepth, " levels."));
    open_.push_back({place(std::move(container)), {}});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  void check_unique(Level& level) const {
    const auto& entries = members(level);
    std::vector<std::size_t> order(entries.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return entries[a].first < entries[b].first;
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const std::string& name = entries[order[i]].first;
      if (name == entries[order[i - 1]].first)
        fail(level.key_offsets[order[i]], "duplicate key \"" + printable(name, 120) + "\".");
    }
  }

  std::string_view text_;
  const std::string& file_;
  const char* reached_ = nullptr;
  Json root_;
  std::vector<Level> open_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& file, bool object) {
  StrictBuilder builder(text, file);
  if (text.starts_with("\xEF\xBB\xBF")) builder.fail(0, "JSON starts without a byte order mark.");
  if (const auto bad = first_invalid_utf8(text); bad != std::string_view::npos)
    builder.fail(bad, "not valid UTF-8.");
  // nlohmann takes a NUL byte for the end of its input and would not see what follows.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)
    builder.fail(nul, "not valid JSON: a NUL byte.");
  const char* begin = text.data();
  Json::sax_parse(TrackingIterator{begin, builder.reached()},
                  TrackingIterator{begin + text.size(), builder.reached()}, &builder);
  Json value = builder.take();
  if (object && !value.is_object())
    builder.fail(0, c10::str("must hold a JSON object. Got ", value.type_name(), "."));
  return value;
}

Json read_json(const std::string& path) {
  const std::string text = read_file(path, kMaxFileBytes);
  const std::string artefact = download_artefact(std::string_view(text).substr(0, kArtefactBytes));
  if (!artefact.empty()) throw FormatError(path, "", artefact);
  return parse_json(text, path);
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cupel
