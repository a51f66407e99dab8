// Files that break one rule each; every one must be refused with that rule's words.
#include "cupel/checkpoint/safetensors.h"

#include "support/catch.h"

#include <string>
#include <vector>

#include "support/format_error.h"
#include "support/raw_safetensors.h"
#include "support/temporary_folder.h"

using cupel::SafetensorsFile;
using cupel::test::entry;
using cupel::test::length_prefix;
using cupel::test::raw_safetensors;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;
using namespace std::literals;

namespace {

struct Malformed {
  std::string name;  // of the file
  std::string rule;  // words of the message
  std::string bytes;
};

void require_refused(const std::vector<Malformed>& files) {
  const TemporaryFolder folder;
  for (const auto& [name, rule, bytes] : files) {
    CAPTURE(name);
    const std::string path = folder.write(name + ".safetensors", bytes);
    require_format_error([&] { SafetensorsFile{path}; }, name + ".safetensors", rule);
  }
}

/// The header object around `body`, with four bytes of data.
std::string file(const std::string& body, const std::string& data = "abcd") {
  return raw_safetensors("{" + body + "}", data);
}

const std::string kGood = entry("x", "U8", "[4]", "[0,4]");

}  // namespace

TEST_CASE("malformed safetensors: framing", "[checkpoint]") {
  require_refused({
      {"empty", "truncated", ""},
      {"seven_bytes", "truncated", std::string(7, '\0')},
      {"no_header", "begin with '{'", length_prefix(0)},
      {"length_past_file", "truncated", length_prefix(100) + "{}"},
      {"length_one_past_file", "truncated", length_prefix(3) + "{}"},
      {"length_2_to_40", "at most 100000000", length_prefix(uint64_t{1} << 40) + "{}"},
      {"length_2_to_63", "at most 100000000", length_prefix(uint64_t{1} << 63) + "{}"},
      {"length_all_ones", "at most 100000000", length_prefix(~uint64_t{0}) + "{}"},
      {"length_wraps", "at most 100000000", length_prefix(~uint64_t{0} - 7) + "{}"},
      {"length_high_half", "at most", length_prefix((uint64_t{2} << 32) + 2) + "{}"},
      {"length_over_limit", "at most", length_prefix(100'000'001) + "{}"},
      {"length_at_limit", "truncated", length_prefix(100'000'000) + "{}"},
      {"leading_space", "begin with '{'", raw_safetensors(" {}")},
      {"leading_mark", "begin with '{'", raw_safetensors("\xEF\xBB\xBF{}")},
      {"array_header", "begin with '{'", raw_safetensors("[]")},
      {"nul_padding", "only spaces", raw_safetensors("{}\0\0"s)},
      {"second_object", "only spaces", raw_safetensors("{}{}")},
      {"utf16", "begin with '{'", raw_safetensors("\xFF\xFE{\0}\0"s)},
  });
}

TEST_CASE("malformed safetensors: the limits can be lowered", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string header = "{" + entry("x", "U8", "[1,4]", "[0,4]") + "}";
  const std::string path = folder.write("a", raw_safetensors(header, "abcd"));
  CHECK_NOTHROW(SafetensorsFile(path, {.header_bytes = header.size(), .rank = 2}));
  require_format_error([&] { SafetensorsFile(path, {.header_bytes = header.size() - 1}); }, "/a",
                       "at most");
  require_format_error([&] { SafetensorsFile(path, {.rank = 1}); }, "/a", "rank");
}

TEST_CASE("malformed safetensors: another kind of file", "[checkpoint]") {
  require_refused({
      {"lfs", "git lfs pull", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"},
      {"doctype", "HTML", "<!DOCTYPE html>\n<html><body>Sign in</body></html>"},
      {"html", "HTML", "\n<HTML><head></head></HTML>"},
      {"zip", "safe_serialization", "PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl"s},
      {"pickle", "pickle", "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s},
      {"gguf", "GGUF", "GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0"s},
      {"gzip", "gzip", "\x1F\x8B\x08\0\0\0\0\0\0\x03"s},
  });
}

TEST_CASE("malformed safetensors: JSON", "[checkpoint]") {
  require_refused({
      {"open_object", "the end of the header", raw_safetensors("{")},
      {"open_string", "closing quote", raw_safetensors("{\"x")},
      {"trailing_comma", "must be a string", file(kGood + ",", "abcd")},
      {"no_comma", "not valid JSON", file(kGood + " " + entry("y", "U8", "[0]", "[4,4]"))},
      {"single_quotes", "must be a string", raw_safetensors("{'x':{}}")},
      {"comment", "must be a string", file("/**/" + kGood)},
      {"unknown_escape", "escape", file(entry("\\x41", "U8", "[4]", "[0,4]"))},
      {"short_escape", "hexadecimal", file(entry("\\u00g0", "U8", "[4]", "[0,4]"))},
      {"raw_newline", "control character", file(entry("a\nb", "U8", "[4]", "[0,4]"))},
      {"raw_nul", "control character", file(entry("a\0b"s, "U8", "[4]", "[0,4]"))},
      {"deep_array", "must be an object", raw_safetensors("{\"x\":" + std::string(1 << 20, '['))},
      {"deep_object", "unknown key", raw_safetensors([] {
         std::string text = "{";
         for (int i = 0; i < 100'000; ++i) text += "\"a\":{";
         return text;
       }())},
  });
}

TEST_CASE("malformed safetensors: names", "[checkpoint]") {
  require_refused({
      {"overlong", "UTF-8", file(entry("\xC0\xAF", "U8", "[4]", "[0,4]"))},
      {"invalid_byte", "UTF-8", file(entry("a\xFF", "U8", "[4]", "[0,4]"))},
      {"surrogate_bytes", "UTF-8", file(entry("\xED\xA0\x80", "U8", "[4]", "[0,4]"))},
      {"lone_high_surrogate", "surrogate", file(entry("\\ud800", "U8", "[4]", "[0,4]"))},
      {"lone_low_surrogate", "surrogate", file(entry("\\udc00", "U8", "[4]", "[0,4]"))},
      {"two_high_surrogates", "surrogate", file(entry("\\ud800\\ud800", "U8", "[4]", "[0,4]"))},
      {"empty_name", "must not be empty", file(entry("", "U8", "[4]", "[0,4]"))},
      {"escape_sequence", "\\x1b[31m", file(entry("\\u001b[31m", "U8", "[5]", "[0,4]"))},
      {"newline_name", "\\x0a", file(entry("a\\nb", "U8", "[5]", "[0,4]"))},
  });
}

TEST_CASE("malformed safetensors: duplicates", "[checkpoint]") {
  const std::string y = entry("y", "U8", "[4]", "[0,4]");
  require_refused({
      {"name_twice", "duplicate tensor name", file(kGood + "," + kGood)},
      {"name_conflict", "duplicate", file(kGood + "," + entry("x", "F32", "[0]", "[4,4]"))},
      {"name_escaped", "duplicate", file(kGood + "," + entry("\\u0078", "U8", "[0]", "[4,4]"))},
      {"metadata_twice", "duplicate key \"__metadata__\"",
       file("\"__metadata__\":{}," + kGood + ",\"__metadata__\":{}")},
      {"metadata_escaped", "duplicate", file("\"__metadata__\":{},\"__metadata\\u005f_\":{}", "")},
      {"metadata_key_twice", "duplicate key \"k\"",
       file("\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," + kGood)},
      {"dtype_twice", "duplicate key \"dtype\"",
       file(R"("x":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]})")},
      {"shape_twice", "duplicate key \"shape\"",
       file(R"("x":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]})")},
      {"offsets_twice", "duplicate key \"data_offsets\"",
       file(R"("x":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]})")},
  });
}

TEST_CASE("malformed safetensors: schema", "[checkpoint]") {
  const auto x = [](const std::string& body) { return file("\"x\":{" + body + "}"); };
  const auto metadata = [](const std::string& value) {
    return file("\"__metadata__\":" + value + "," + kGood);
  };
  require_refused({
      {"no_dtype", "lacks the key \"dtype\"", x(R"("shape":[4],"data_offsets":[0,4])")},
      {"no_shape", "lacks the key \"shape\"", x(R"("dtype":"U8","data_offsets":[0,4])")},
      {"no_offsets", "lacks the key \"data_offsets\"", x(R"("dtype":"U8","shape":[4])")},
      {"empty_info", "lacks the key", x("")},
      {"extra_key", "unknown key \"note\"",
       x(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"note":1)")},
      {"array_info", "must be an object", file(R"("x":["U8",[4],[0,4]])")},
      {"null_info", "must be an object", file("\"x\":null")},
      {"string_info", "must be an object", file("\"x\":\"U8\"")},
      {"metadata_null", "object of strings", metadata("null")},
      {"metadata_array", "object of strings", metadata("[]")},
      {"metadata_number", "must be a string", metadata("{\"k\":1}")},
      {"metadata_null_value", "must be a string", metadata("{\"k\":null}")},
      {"metadata_nested", "must be a string", metadata("{\"k\":{}}")},
      {"metadata_flood", "more than 100000", metadata([] {
         std::string text = "{\"k\":\"\"";
         for (int i = 0; i < 100'000; ++i) text += ",\"" + std::to_string(i) + "\":\"\"";
         return text + "}";
       }())},
  });
}

TEST_CASE("malformed safetensors: dtypes", "[checkpoint]") {
  const auto dtype = [](const std::string& text) {
    return file(R"("x":{"dtype":)" + text + R"(,"shape":[4],"data_offsets":[0,4]})");
  };
  require_refused({
      {"unknown", "dtype \"U9\"", dtype("\"U9\"")},
      {"lower_case", "not supported", dtype("\"u8\"")},
      {"torch_name", "not supported", dtype("\"torch.uint8\"")},
      {"empty", "not supported", dtype("\"\"")},
      {"four_bits", "narrower than a byte", dtype("\"F4\"")},
      {"six_bits", "narrower than a byte", dtype("\"F6_E2M3\"")},
      {"number", "must be a string", dtype("8")},
      {"null", "must be a string", dtype("null")},
      {"object", "must be a string", dtype("{\"U8\":null}")},
  });
}

TEST_CASE("malformed safetensors: integers of a shape", "[checkpoint]") {
  const std::string rule = "non-negative integer";
  for (const char* value : {"-4", "-0", "4.0", "4e0", "4E0", "\"4\"", "true", "null", "[4]", "{}",
                            "NaN", "Infinity", "0x4", "+4", ".4", ""}) {
    CAPTURE(value);
    const auto shape = "["s + value + ",1]";
    require_refused({{"shape", rule, file(entry("x", "U8", shape, "[0,4]"))},
                     {"begin", rule, file(entry("x", "U8", "[4]", "["s + value + ",4]"))},
                     {"end", rule, file(entry("x", "U8", "[4]", "[0,"s + value + "]"))}});
  }
  require_refused({
      {"leading_zero", "leading zero", file(entry("x", "U8", "[04]", "[0,4]"))},
      {"above_int64", "overflows", file(entry("x", "U8", "[9223372036854775808]", "[0,4]"))},
      {"above_uint64", "overflows", file(entry("x", "U8", "[18446744073709551620]", "[0,4]"))},
      {"many_digits", "overflows",
       file(entry("x", "U8", "[" + std::string(10'000, '9') + "]", "[0,4]"))},
      {"shape_scalar", "list of integers", file(entry("x", "U8", "4", "[0,4]"))},
      {"shape_object", "list of integers", file(entry("x", "U8", "{\"0\":4}", "[0,4]"))},
      {"shape_comma", rule, file(entry("x", "U8", "[4,]", "[0,4]"))},
      {"rank_65", "rank",
       file(entry(
           "x", "U8",
           [] {
             std::string shape = "[4";
             for (int i = 0; i < 64; ++i) shape += ",1";
             return shape + "]";
           }(),
           "[0,4]"))},
      {"rank_million", "rank",
       file(entry(
           "x", "U8",
           [] {
             std::string shape = "[4";
             for (int i = 0; i < 1'000'000; ++i) shape += ",1";
             return shape + "]";
           }(),
           "[0,4]"))},
  });
}

TEST_CASE("malformed safetensors: ranges of the data", "[checkpoint]") {
  const auto two = [](const std::string& first, const std::string& second, int size = 2) {
    const std::string shape = "[" + std::to_string(size) + "]";
    return file(entry("x", "U8", shape, first) + "," + entry("y", "U8", shape, second));
  };
  require_refused({
      {"backwards", "end before they begin", file(entry("x", "U8", "[4]", "[4,0]"))},
      {"past_end", "truncated", file(entry("x", "U8", "[5]", "[0,5]"))},
      {"far_past_end", "truncated", file(entry("x", "U8", "[1099511627776]", "[0,1099511627776]"))},
      {"begin_at_max", "truncated",
       file(entry("x", "U8", "[1]", "[9223372036854775806,9223372036854775807]"))},
      {"too_few_bytes", "exactly the size", file(entry("x", "F32", "[2]", "[0,4]"))},
      {"too_many_bytes", "exactly the size", file(entry("x", "U8", "[3]", "[0,4]"))},
      {"size_zero", "exactly the size", file(entry("x", "U8", "[0]", "[0,4]"))},
      {"overlap", "overlap", two("[0,2]", "[1,3]")},
      {"same_range", "overlap", two("[0,4]", "[0,4]", 4)},
      {"inside", "overlap", file(kGood + "," + entry("y", "U8", "[2]", "[1,3]"))},
      {"hole", "hole",
       file(entry("x", "U8", "[1]", "[0,1]") + "," + entry("y", "U8", "[2]", "[2,4]"))},
      {"hole_at_start", "hole", file(entry("x", "U8", "[3]", "[1,4]"))},
      {"trailing", "trailing bytes", file(entry("x", "U8", "[3]", "[0,3]"))},
      {"only_data", "trailing bytes", raw_safetensors("{}", "abcd")},
      {"appended_zip", "trailing bytes", file(kGood, "abcdPK\x05\x06")},
      {"empty_in_hole", "hole",
       file(entry("x", "U8", "[1]", "[0,1]") + "," + entry("e", "U8", "[0]", "[2,2]") + "," +
            entry("y", "U8", "[2]", "[2,4]"))},
      {"empty_inside", "overlap", file(kGood + "," + entry("e", "U8", "[0]", "[2,2]"))},
      {"one_offset", "two integers", file(entry("x", "U8", "[4]", "[4]"))},
      {"three_offsets", "two integers", file(entry("x", "U8", "[4]", "[0,4,4]"))},
      {"no_offset", "non-negative integer", file(entry("x", "U8", "[4]", "[]"))},
  });
}

TEST_CASE("malformed safetensors: sizes that overflow", "[checkpoint]") {
  const auto shape = [](const std::string& text, const std::string& dtype = "F32") {
    return file(entry("x", dtype, text, "[0,4]"));
  };
  require_refused({
      {"wraps_to_zero", "overflow", shape("[4611686018427387904]")},
      {"wraps_to_four", "overflow", shape("[4611686018427387905]")},
      {"two_factors", "overflow", shape("[4294967296,4294967296]", "U8")},
      {"wraps_exactly", "overflow", shape("[4294967297,4294967297,4294967296]", "U8")},
      {"negative_product", "overflow", shape("[3037000500,3037000500]", "U8")},
      {"before_zero", "overflow", shape("[9223372036854775807,2,0]", "U8")},
      {"after_zero", "overflow", shape("[0,9223372036854775807,2]", "U8")},
      {"many_twos", "overflow",
       shape(
           [] {
             std::string text = "[2";
             for (int i = 0; i < 63; ++i) text += ",2";
             return text + "]";
           }(),
           "U8")},
  });
}

TEST_CASE("malformed safetensors: 20,000 tensors on one range", "[checkpoint]") {
  std::string body;
  for (int i = 0; i < 20'000; ++i)
    body += (i ? "," : "") + entry("t" + std::to_string(i), "U8", "[4]", "[0,4]");
  require_refused({{"stacked", "overlap", file(body)}});
}

TEST_CASE("malformed safetensors: a bool is 0 or 1", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.safetensors", file(entry("x", "BOOL", "[4]", "[0,4]"), std::string("\0\1\2\1", 4)));
  const SafetensorsFile opened(path);
  require_format_error([&] { opened.read("x"); }, "a.safetensors", "0 or 1");
}

TEST_CASE("malformed safetensors: every proper prefix of a valid file", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string path = folder.file("whole.safetensors");
  cupel::write_safetensors(path,
                           {{"model.embed_tokens.weight", torch::rand({16, 8})},
                            {"model.layers.0.mlp.weight", torch::rand({8, 8})},
                            {"empty", torch::empty({0})},
                            {"mask", torch::ones({100}, torch::kBool)}},
                           {{"format", "pt"}});
  const std::string whole = folder.read("whole.safetensors");
  REQUIRE(whole.size() > 1000);
  int accepted = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string part = folder.write("part.safetensors", whole.substr(0, length));
    try {
      SafetensorsFile{part};
      ++accepted;
      UNSCOPED_INFO("accepted " << length << " of " << whole.size() << " bytes");
    } catch (const cupel::FormatError&) {
    }
  }
  CHECK(accepted == 0);
}

TEST_CASE("malformed safetensors: no single changed header byte does harm", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string whole =
      file("\"__metadata__\":{\"format\":\"pt\"}," + entry("x", "F32", "[1,1]", "[0,4]"));
  for (std::size_t at = 0; at + 4 < whole.size(); ++at) {
    for (const int change : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const std::string path = folder.write("a", bytes);
      try {  // another name or metadata may be a valid file; anything else must be a FormatError
        for (const auto& [name, tensor] : cupel::read_safetensors(path))
          CHECK(tensor.nbytes() == 4);
      } catch (const cupel::FormatError&) {
      }
    }
  }
}
