#include "cupel/checkpoint/safetensors.h"

#include "support/catch.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/format_error.h"
#include "support/raw_safetensors.h"
#include "support/temporary_folder.h"

using cupel::SafetensorsFile;
using cupel::write_safetensors;
using cupel::test::entry;
using cupel::test::raw_safetensors;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

constexpr std::pair<const char*, torch::ScalarType> kDtypes[] = {
    {"BOOL", torch::kBool},
    {"U8", torch::kUInt8},
    {"I8", torch::kInt8},
    {"I16", torch::kInt16},
    {"U16", torch::kUInt16},
    {"I32", torch::kInt32},
    {"U32", torch::kUInt32},
    {"I64", torch::kInt64},
    {"U64", torch::kUInt64},
    {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16},
    {"F32", torch::kFloat32},
    {"F64", torch::kFloat64},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E5M2", torch::kFloat8_e5m2},
    {"F8_E8M0", torch::kFloat8_e8m0fnu},
    {"F8_E4M3FNUZ", torch::kFloat8_e4m3fnuz},
    {"F8_E5M2FNUZ", torch::kFloat8_e5m2fnuz},
    {"C64", torch::kComplexFloat},
};

/// A [3, 4] tensor whose bytes are all different (a bool's are 0 and 1).
torch::Tensor patterned(torch::ScalarType dtype) {
  auto tensor = torch::empty({3, 4}, torch::TensorOptions().dtype(dtype));
  auto* bytes = static_cast<unsigned char*>(tensor.data_ptr());
  for (std::size_t i = 0; i < tensor.nbytes(); ++i)
    bytes[i] = static_cast<unsigned char>(dtype == torch::kBool ? i % 3 == 0 : 37 * i + 11);
  return tensor;
}

bool same_bytes(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.is_contiguous() &&
         b.is_contiguous() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

std::string header_of(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  return bytes.substr(8, length);
}

}  // namespace

TEST_CASE("safetensors: every dtype comes back bit for bit", "[checkpoint]") {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& [name, dtype] : kDtypes) tensors.emplace_back(name, patterned(dtype));
  write_safetensors(folder.file("all"), tensors);
  const SafetensorsFile file(folder.file("all"));
  REQUIRE(file.tensors().size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CAPTURE(name);
    CHECK(same_bytes(file.read(name), tensor));
    CHECK_THAT(folder.read("all"), Catch::Contains("\"" + name + "\":{\"dtype\":\"" + name + "\""));
  }
}

TEST_CASE("safetensors: the header is written as the reference library writes it", "[checkpoint]") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("a"), {{"b", torch::ones({2, 2})}, {"a", torch::ones({})}},
                    {{"format", "pt"}, {"note", "q\"\\\n\u00e9"}});
  const std::string bytes = folder.read("a");
  const std::string header = header_of(bytes);
  CHECK_THAT(header, Catch::StartsWith(
                         "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"q\\\"\\\\\\n\u00e9\"},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]}}"));
  CHECK(header.size() % 8 == 0);
  CHECK(bytes.size() == 8 + header.size() + 20);
}

TEST_CASE("safetensors: what is read is what the header says", "[checkpoint]") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("a"), {{"x", torch::arange(6).reshape({2, 3})}}, {{"k", "v"}});
  const SafetensorsFile file(folder.file("a"));
  CHECK(file.path() == folder.file("a"));
  CHECK(file.metadata() == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(file.contains("x"));
  CHECK_FALSE(file.contains("y"));
  CHECK(file.info("x").shape == std::vector<int64_t>{2, 3});
  CHECK(file.info("x").dtype == torch::kInt64);
  CHECK(file.info("x").end - file.info("x").begin == 48);
  CHECK(file.info("x").end == std::filesystem::file_size(file.path()));
  require_format_error([&] { file.read("y\x1b"); }, "/a", "no tensor \"y\\x1b\"");
  CHECK(cupel::read_safetensors(file.path()).at("x").equal(torch::arange(6).reshape({2, 3})));
}

TEST_CASE("safetensors: views are written as the values they show", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto base = torch::arange(12, torch::kFloat32).reshape({3, 4});
  const auto complex = torch::complex(base, base + 1);
  write_safetensors(folder.file("a"), {{"t", base.t()},
                                       {"slice", base.slice(1, 1, 4, 2)},
                                       {"broadcast", base.slice(0, 1, 2).expand({5, 4})},
                                       {"gradient", base.clone().requires_grad_()},
                                       {"conjugate", complex.conj()},
                                       {"negative", torch::imag(complex.conj())}});
  const auto tensors = cupel::read_safetensors(folder.file("a"));
  CHECK(tensors.at("t").equal(base.t()));
  CHECK(tensors.at("slice").equal(base.slice(1, 1, 4, 2)));
  CHECK(tensors.at("broadcast").equal(base.slice(0, 1, 2).expand({5, 4})));
  CHECK(tensors.at("gradient").equal(base));
  CHECK(tensors.at("conjugate").equal(complex.conj().resolve_conj()));
  CHECK(tensors.at("negative").equal(-(base + 1)));
}

TEST_CASE("safetensors: scalars, empty tensors and empty files are fine", "[checkpoint]") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("a"), {{"none", torch::empty({0})},
                                       {"scalar", torch::tensor(2.5)},
                                       {"flat", torch::empty({3, 0, 1000})},
                                       {"last", torch::empty({0, 7})}});
  const auto tensors = cupel::read_safetensors(folder.file("a"));
  CHECK(tensors.at("scalar").item<double>() == 2.5);
  CHECK(tensors.at("flat").sizes() == torch::IntArrayRef{3, 0, 1000});
  CHECK(tensors.at("none").numel() == 0);
  CHECK(tensors.at("last").sizes() == torch::IntArrayRef{0, 7});
  write_safetensors(folder.file("empty"), {});
  CHECK(SafetensorsFile(folder.file("empty")).tensors().empty());
}

TEST_CASE("safetensors: unusual headers that the format allows are read", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string x = entry("x", "U8", "[2]", "[0,2]"), y = entry("y", "U8", "[2]", "[2,4]");
  const auto read = [&](const std::string& header, const std::string& data) {
    folder.write("a", raw_safetensors(header, data));
    return cupel::read_safetensors(folder.file("a"));
  };
  CHECK(read("{" + y + "," + x + "}", "abcd").at("x")[1].item<int>() == 'b');  // any order
  CHECK(read("{" + x + "}   \n\t ", "ab").size() == 1);                        // padding
  CHECK(
      read("{ \"x\" : { \"shape\" : [ 2 ] ,\n\"data_offsets\":[ 0 , 2 ],\"dtype\":\"U8\" } }", "ab")
          .size() == 1);
  CHECK(read("{\"__metadata__\":{}," + x + "}", "ab").size() == 1);
  CHECK(read("{" + x + ",\"__metadata__\":{\"dtype\":\"{}\"}}", "ab").size() == 1);
  CHECK(read("{" + entry("\\u0061\\u00e9\\ud83d\\ude00\\u0000/..", "U8", "[1]", "[0,1]") + "}", "a")
            .count(std::string("a\u00e9\U0001F600\0/..", 11)) == 1);  // names are opaque
  CHECK(read("{" + entry("f", "F32", "[1]", "[1,5]") + "," + entry("x", "U8", "[1]", "[0,1]") + "}",
             std::string("x\0\0\x80\x3f", 5))
            .at("f")
            .item<float>() == 1.0f);  // unaligned
}

TEST_CASE("safetensors: tensors come in file order", "[checkpoint]") {
  const TemporaryFolder folder;
  folder.write("a", raw_safetensors("{" + entry("late", "U8", "[2]", "[1,3]") + "," +
                                        entry("early", "U8", "[1]", "[0,1]") + "," +
                                        entry("empty", "U8", "[0]", "[1,1]") + "}",
                                    "abc"));
  const SafetensorsFile file(folder.file("a"));
  std::vector<std::string> names;
  for (const auto& tensor : file.tensors()) names.push_back(tensor.name);
  CHECK(names == std::vector<std::string>{"early", "empty", "late"});
}

TEST_CASE("safetensors: 20,000 tensors open", "[checkpoint]") {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (int i = 0; i < 20'000; ++i)
    tensors.emplace_back("layers." + std::to_string(i) + ".weight", torch::full({1}, i));
  write_safetensors(folder.file("a"), tensors);
  const SafetensorsFile file(folder.file("a"));
  CHECK(file.tensors().size() == 20'000);
  CHECK(file.read("layers.12345.weight").item<int>() == 12345);
}

TEST_CASE("safetensors: a tensor larger than memory opens, since opening reads no data",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string header = "{" + entry("x", "F32", "[274877906944]", "[0,1099511627776]") + "}";
  const std::string path = folder.write("a", raw_safetensors(header));
  std::error_code error;
  std::filesystem::resize_file(path, 8 + header.size() + (uint64_t{1} << 40), error);
  if (error) {
    WARN("skipped: the file system has no files of 1 TiB");
    return;
  }
  CHECK(SafetensorsFile(path).info("x").shape == std::vector<int64_t>{274877906944});
}

TEST_CASE("safetensors: a file cut short after opening is a FormatError at read", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a");
  write_safetensors(path, {{"first", torch::ones({4})}, {"second", torch::ones({4})}});
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, file.info("second").begin + 3);
  CHECK(file.read("first").equal(torch::ones({4})));
  require_format_error([&] { file.read("second"); }, "/a", "tensor \"second\"");
  require_format_error([&] { file.read("second"); }, "/a", "truncated");
}

TEST_CASE("safetensors: a file can be written over while it is open", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a");
  write_safetensors(path, {{"x", torch::ones({1000})}, {"y", torch::full({5}, 2.0)}});
  const SafetensorsFile old(path);
  write_safetensors(path, {{"x", old.read("x")}, {"y", old.read("y")}});
  CHECK(old.read("y").equal(torch::full({5}, 2.0)));
  CHECK(cupel::read_safetensors(path).at("x").equal(torch::ones({1000})));
}

TEST_CASE("safetensors: writing refuses what the format cannot hold", "[checkpoint]") {
  const TemporaryFolder folder;
  folder.write("a", "old");
  const auto x = torch::ones({2});
  const auto refuse = [&](const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                          const std::string& rule,
                          const std::map<std::string, std::string>& metadata = {}) {
    CHECK_THROWS_WITH(write_safetensors(folder.file("a"), tensors, metadata),
                      Catch::StartsWith("[write_safetensors] ") && Catch::Contains(rule));
    CHECK_THROWS_AS(write_safetensors(folder.file("a"), tensors, metadata), std::invalid_argument);
  };
  refuse({{"x", torch::ones({2}, torch::kComplexDouble)}}, "lacks the dtype");
  refuse({{"x", torch::Tensor()}}, "defined");
  refuse({{"x", x}, {"y", x}, {"x", x}}, "unique");
  refuse({{"__metadata__", x}}, "__metadata__");
  refuse({{"", x}}, "empty");
  refuse({{"\xFF", x}}, "UTF-8");
  refuse({{"x", x}}, "UTF-8", {{"k", "\xC0"}});
  refuse({{"x", torch::empty({2}, torch::kMeta)}}, "hold data");
  refuse({{"x", torch::eye(3).to_sparse()}}, "dense");
  CHECK(folder.read("a") == "old");
  CHECK(folder.names().size() == 1);
}

TEST_CASE("checked_nbytes: products are exact up to 63 bits", "[checkpoint]") {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  const auto bytes = [](const std::vector<int64_t>& shape, torch::ScalarType dtype) {
    return cupel::checked_nbytes(shape, dtype, "f.safetensors", "x");
  };
  CHECK(bytes({}, torch::kFloat64) == 8);
  CHECK(bytes({3, 5}, torch::kFloat16) == 30);
  CHECK(bytes({most}, torch::kUInt8) == static_cast<uint64_t>(most));
  CHECK(bytes({int64_t{1} << 40, 0}, torch::kFloat32) == 0);
  for (const auto& shape : std::vector<std::vector<int64_t>>{{most, 2},
                                                             {int64_t{1} << 32, int64_t{1} << 32},
                                                             {int64_t{1} << 62},
                                                             {int64_t{1} << 61, 0, 4},
                                                             {0, most, most}}) {
    require_format_error([&] { bytes(shape, torch::kFloat32); }, "f.safetensors", "overflow");
  }
  require_format_error([&] { bytes({2, -1}, torch::kUInt8); }, "tensor \"x\"", "negative");
  require_format_error([&] { bytes({0, -1}, torch::kUInt8); }, "tensor \"x\"", "negative");
}
