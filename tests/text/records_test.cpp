#include "cupel/text/records.h"

#include "support/catch.h"
#include <zlib.h>

#include "cupel/core/error.h"
#include "support/temporary_folder.h"

using cupel::test::TemporaryFolder;

namespace {

std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::vector<std::string> lines(const std::string& path) {
  std::vector<std::string> found;
  cupel::for_each_line(path, [&](int64_t number, std::string_view text) {
    REQUIRE(number == static_cast<int64_t>(found.size()) + 1);
    found.emplace_back(text);
  });
  return found;
}

template <typename Call>
std::string format_error(Call&& call) {
  try {
    call();
  } catch (const cupel::FormatError& error) {
    return error.what();
  }
  return "accepted";
}

void require_contains(const std::string& text, const std::string& part) {
  INFO("got: " << text);
  REQUIRE(text.find(part) != std::string::npos);
}

using Lines = std::vector<std::string>;

// Lines of 0 to 999 characters: about 1 MB, so chunks end inside lines.
Lines many_lines() {
  Lines expected;
  for (int i = 0; i < 2000; ++i) expected.push_back(std::string((i * 37) % 1000, 'a' + i % 26));
  return expected;
}

std::string joined(const Lines& parts, const std::string& end) {
  std::string text;
  for (const auto& part : parts) text += part + end;
  return text;
}

}  // namespace

TEST_CASE("lines end with LF or CR LF, the last one maybe with nothing") {
  const TemporaryFolder folder;
  REQUIRE(lines(folder.write("a", "one\ntwo\r\n\nfour")) == Lines{"one", "two", "", "four"});
  REQUIRE(lines(folder.write("a", "one\n")) == Lines{"one"});
  REQUIRE(lines(folder.write("a", "a\rb\n\r\n")) == Lines{"a\rb", ""});
  REQUIRE(lines(folder.write("a", "")).empty());
  REQUIRE(lines(folder.write("a", std::string("x\0y\n", 4))) == Lines{std::string("x\0y", 3)});
}

TEST_CASE("lines across chunks, plain and gzip") {
  const TemporaryFolder folder;
  const Lines expected = many_lines();
  for (const std::string end : {"\n", "\r\n"}) {
    const std::string text = joined(expected, end);
    REQUIRE(lines(folder.write("a", text)) == expected);
    REQUIRE(lines(folder.write("a", gzip(text))) == expected);
  }
  // One line far longer than a chunk, which gzip shrinks to less than one.
  const Lines long_line{std::string(3 << 20, 'x'), "y"};
  REQUIRE(lines(folder.write("a", gzip(joined(long_line, "\n")))) == long_line);
}

TEST_CASE("gzip is told by content; members may follow one another") {
  const TemporaryFolder folder;
  const std::string zeros(3, '\0');
  REQUIRE(lines(folder.write("a.txt", gzip("one\ntw") + gzip("o\nthree"))) ==
          Lines{"one", "two", "three"});
  REQUIRE(lines(folder.write("a.txt", gzip("one\n") + gzip("") + zeros)) == Lines{"one"});
  REQUIRE(lines(folder.write("a.gz", "plain\n")) == Lines{"plain"});
  const Lines expected = many_lines();
  std::string members;
  for (const auto& line : expected) members += gzip(line + "\n");
  REQUIRE(lines(folder.write("a.gz", members)) == expected);
}

TEST_CASE("damaged gzip data is an error") {
  const TemporaryFolder folder;
  const std::string good = gzip("one\ntwo\n");
  const auto error = [&](const std::string& bytes) {
    return format_error([&] { lines(folder.write("a.gz", bytes)); });
  };
  for (std::size_t size = 2; size < good.size(); ++size)
    require_contains(error(good.substr(0, size)), "cut short");
  require_contains(error(good + "rubbish"), "other bytes follow");
  require_contains(error(good + std::string(2, '\0') + good), "other bytes follow");
  std::string flipped = good;
  flipped[flipped.size() - 6] ^= 1;  // the checksum
  require_contains(error(flipped), "bad gzip data");
  require_contains(error(good.substr(0, 3) + "\xFF" + good.substr(4)), "bad gzip data");
}

TEST_CASE("an exception of the callback comes through") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.gz", gzip("one\ntwo\n"));
  REQUIRE_THROWS_AS(cupel::for_each_line(path, [](int64_t, std::string_view) { throw 7; }), int);
}

TEST_CASE("read_jsonl_field") {
  const TemporaryFolder folder;
  const std::string text = "{\"text\": \"a\\nb\"}\r\n\n  \n{\"url\": 1, \"text\": \"\\u00e9\"}";
  REQUIRE(cupel::read_jsonl_field(folder.write("a.jsonl", text)) == Lines{"a\nb", "\xC3\xA9"});
  REQUIRE(cupel::read_jsonl_field(folder.write("a.jsonl.gz", gzip(text))).size() == 2);
  REQUIRE(cupel::read_jsonl_field(folder.write("a.jsonl", "{\"q\": \"x\"}"), "q") == Lines{"x"});
}

TEST_CASE("read_jsonl_field names file, line and rule") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& second) {
    const std::string path = folder.write("a.jsonl", "{\"text\": \"a\"}\n" + second + "\n");
    return format_error([&] { cupel::read_jsonl_field(path); });
  };
  require_contains(error("{\"text\": "), "a.jsonl: line 2, byte");
  require_contains(error("{\"text\": \"a\"} x"), "line 2");
  require_contains(error("{\"text\": NaN}"), "line 2");
  require_contains(error("{\"text\": \"a\", \"text\": \"b\"}"), "duplicate");
  require_contains(error("[\"a\"]"), "line 2");
  require_contains(error("{\"text\": \"\xFF\"}"), "line 2");
  require_contains(error("{\"body\": \"a\", \"id\": 1}"), "no field \"text\". Got {body, id}");
  require_contains(error("{\"text\": 3}"), "must be a string. Got number");
  require_contains(error("{\"a\": \"\\u001b[31m\"}"), "no field");
  REQUIRE(error("{\"\\u001b[31m\": 1}").find('\x1B') == std::string::npos);
}

TEST_CASE("read_text") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& bytes) {
    return format_error([&] { cupel::read_text(folder.write("a.txt", bytes)); });
  };
  REQUIRE(cupel::read_text(folder.write("a.txt", "h\xC3\xA9\r\n")) == "h\xC3\xA9\r\n");
  require_contains(error(""), "empty");
  require_contains(error("abc\xC3(\n"), "byte 3: not valid UTF-8");
  require_contains(error("\xFF\xFE"
                         "a"),
                   "UTF-16");
  require_contains(error(gzip("abc")), "gzip");
  require_contains(error("version https://git-lfs.github.com/spec/v1\n"), "git-lfs");
  REQUIRE(error("<html> is how a page starts") == "accepted");
  REQUIRE_THROWS_AS(cupel::read_text(folder.file("absent")), cupel::FormatError);
  REQUIRE_THROWS_AS(cupel::read_text(folder.path()), cupel::FormatError);
}
