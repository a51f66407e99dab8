#include "core/json.h"

#include "support/catch.h"

#include <string>
#include <string_view>

#include "support/format_error.h"
#include "support/temporary_folder.h"

using cupel::dump_json;
using cupel::Json;
using cupel::parse_json;
using cupel::test::require_format_error;
using namespace std::literals;

namespace {

void require_refused(std::string_view text, const std::string& rule,
                     const std::string& where = "") {
  CAPTURE(std::string(text.substr(0, 80)));
  require_format_error([&] { parse_json(text, "dir/a.json", false); }, "dir/a.json", rule);
  if (!where.empty())
    require_format_error([&] { parse_json(text, "dir/a.json", false); }, "dir/a.json", where);
}

std::string nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("json: values of every kind come back in order", "[core]") {
  const Json json = parse_json(
      R"( {"b": [1, -2, 2.5, true, null, "x\u00e9\ud83d\ude00\u0000"], "a": {"c": {}, "d": []}} )",
      "f");
  CHECK(json["b"][0].is_number_unsigned());
  CHECK(json["b"][1].get<int>() == -2);
  CHECK(json["b"][2].get<double>() == 2.5);
  CHECK(json["b"][3].get<bool>());
  CHECK(json["b"][4].is_null());
  CHECK(json["b"][5].get<std::string>() == "x\u00e9\U0001F600\0"s);
  CHECK(json.begin().key() == "b");
  CHECK(dump_json(json["a"]) == R"({"c":{},"d":[]})");
}

TEST_CASE("json: a number that is no 64-bit integer shows as a float", "[core]") {
  const Json json =
      parse_json("[18446744073709551615, 18446744073709551616, 1.0, 1e2, -0]", "f", false);
  CHECK(json[0].is_number_unsigned());
  CHECK(json[1].is_number_float());
  CHECK(json[2].is_number_float());
  CHECK(json[3].is_number_float());
  CHECK_FALSE(json[4].is_number_unsigned());
}

TEST_CASE("json: duplicate keys are refused in any object, also when escaped", "[core]") {
  require_refused(R"({"a": 1, "a": 1})", "duplicate key \"a\"", "byte 9");
  require_refused(R"({"a": 1, "\u0061": 2})", "duplicate key");
  require_refused(R"({"x": [{"y": {"k": 1, "z": 2, "k": 3}}]})", "duplicate key \"k\"");
  require_refused(R"({"": 1, "": 2})", "duplicate key");
  require_refused("{\"\x1b\x5b\": 1, \"\\u001b[\": 2}", "");
  CHECK(parse_json(R"({"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]})", "f").size() == 2);
}

TEST_CASE("json: nesting ends at 64 levels, however deep the text goes", "[core]") {
  CHECK_NOTHROW(parse_json(nested(64), "f", false));
  require_refused(nested(65), "nested deeper than 64", "byte 65");
  require_refused(std::string(5'000'000, '['), "nested deeper than 64");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  require_refused(objects, "nested deeper than 64");
}

TEST_CASE("json: text that is not JSON is refused", "[core]") {
  for (const auto text : {""sv,
                          " "sv,
                          "{"sv,
                          "{}}"sv,
                          "{} x"sv,
                          "[1,]"sv,
                          "{\"a\":1,}"sv,
                          "{'a':1}"sv,
                          "{a:1}"sv,
                          "[NaN]"sv,
                          "[Infinity]"sv,
                          "[-Infinity]"sv,
                          "[01]"sv,
                          "[+1]"sv,
                          "[.5]"sv,
                          "[1.]"sv,
                          "[0x10]"sv,
                          "[1e]"sv,
                          "[1e999]"sv,
                          "[tru]"sv,
                          "// c\n{}"sv,
                          "{}/* c */"sv,
                          "[\"a\nb\"]"sv,
                          "[\"\\x\"]"sv,
                          "[\"\\ud800\"]"sv,
                          "[\"\\udc00\\ud800\"]"sv,
                          "[\"\\u12\"]"sv,
                          "[\"abc]"sv,
                          "[1 2]"sv,
                          "{\"a\" 1}"sv,
                          "{\"a\"}"sv,
                          "{1: 2}"sv,
                          "nul"sv}) {
    require_refused(text, "not valid JSON", "byte ");
  }
}

TEST_CASE("json: a NUL byte does not end the text early", "[core]") {
  require_refused("{}\0{\"hidden\": 1}"sv, "NUL");
  require_refused("{}\0"sv, "NUL");
}

TEST_CASE("json: text is UTF-8 without a byte order mark", "[core]") {
  require_refused("\xEF\xBB\xBF{}"sv, "byte order mark");
  require_refused("\xFF\xFE{\0}\0"sv, "UTF-8", "byte 0");
  require_refused("[\"\xC0\x80\"]"sv, "UTF-8", "byte 2");
  require_refused("[\"\xED\xA0\x80\"]"sv, "UTF-8");
}

TEST_CASE("json: messages stay short and printable", "[core]") {
  const std::string digits(10'000, '7');
  CHECK(parse_json("[" + digits.substr(0, 200) + "]", "f", false)[0].is_number_float());
  require_refused("[" + digits + "]", "not valid JSON");
  try {
    parse_json("[\x1b[31m" + digits + "x]", "a\nb.json");
    FAIL("nothing was thrown");
  } catch (const cupel::FormatError& error) {
    const std::string message = error.what();
    CHECK(message.size() < 600);
    CHECK(message.find('\x1b') == std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("json: the top level must be an object unless told otherwise", "[core]") {
  require_format_error([] { parse_json("[1]", "f.json"); }, "f.json", "object. Got array");
  CHECK(parse_json("[1]", "f.json", false).is_array());
  CHECK(parse_json("3", "f.json", false) == 3);
}

TEST_CASE("json: an object of many keys is read in order", "[core]") {
  std::string text = "{";
  for (int i = 0; i < 50'000; ++i)
    text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":" + std::to_string(i);
  const Json json = parse_json(text + "}", "f");
  CHECK(json.size() == 50'000);
  CHECK(std::prev(json.end()).key() == "k49999");
}

TEST_CASE("json: files are read and downloads gone wrong are named", "[core]") {
  const cupel::test::TemporaryFolder folder;
  CHECK(cupel::read_json(folder.write("a.json", "{\"a\": 1}"))["a"] == 1);
  const auto lfs = folder.write("lfs.json", "version https://git-lfs.github.com/spec/v1\noid 0");
  require_format_error([&] { cupel::read_json(lfs); }, "lfs.json", "git lfs pull");
  const auto page = folder.write("page.json", "<!DOCTYPE html><html></html>");
  require_format_error([&] { cupel::read_json(page); }, "page.json", "HTML");
  require_format_error([&] { cupel::read_json(folder.file("none.json")); }, "none.json", "No such");
}

TEST_CASE("json: dumping keeps order and replaces invalid UTF-8", "[core]") {
  Json json;
  json["z"] = 1;
  json["a"] = "\xFFx";
  CHECK(dump_json(json) == "{\"z\":1,\"a\":\"\uFFFDx\"}");
  CHECK(dump_json(Json{{"a", 1}}, 2) == "{\n  \"a\": 1\n}");
}
