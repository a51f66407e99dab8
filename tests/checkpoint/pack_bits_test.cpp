#include "support/catch.h"

#include <stdexcept>

#include "cupel/checkpoint/packing.h"

using cupel::pack_bits;
using cupel::packed_words;
using cupel::unpack_bits;

namespace {

torch::Tensor bytes(const std::vector<int64_t>& values) {
  return torch::tensor(values).to(torch::kUInt8).unsqueeze(0);
}

/// The words of row `row` as they look in hexadecimal.
std::vector<uint32_t> words_of(const torch::Tensor& words, int64_t row = 0) {
  std::vector<uint32_t> list;
  for (int64_t i = 0; i < words.size(1); ++i)
    list.push_back(static_cast<uint32_t>(words[row][i].item<int32_t>()));
  return list;
}

using Words = std::vector<uint32_t>;

}  // namespace

TEST_CASE("pack_bits: words worked out by hand", "[checkpoint]") {
  // The first code is in the lowest bits.
  CHECK(words_of(pack_bits(bytes({1, 2, 3, 4, 5, 6, 7, 8}), 4)) == Words{0x87654321});
  CHECK(words_of(pack_bits(bytes({1, 2, 3, 4, 5, 6, 7, 15, 9}), 4)) == Words{0xF7654321, 0x9});
  CHECK(words_of(pack_bits(bytes({0x12, 0x34, 0x56, 0xF8, 0x9A}), 8)) == Words{0xF8563412, 0x9A});
  CHECK(words_of(pack_bits(bytes({1, 0, 1, 1}), 1)) == Words{0b1101});
  // Three bits: code 10 begins at bit 30, so its highest bit is the next word's lowest.
  std::vector<int64_t> codes(12, 0);
  codes[10] = 5;
  codes[11] = 7;
  CHECK(words_of(pack_bits(bytes(codes), 3)) == Words{0x40000000, 0b1111});
}

TEST_CASE("pack_bits: each row begins a word, and dim 0 packs columns", "[checkpoint]") {
  const auto codes = torch::tensor({{1, 2, 3}, {4, 5, 6}}).to(torch::kUInt8);
  const auto rows = pack_bits(codes, 4);
  CHECK(rows.sizes() == torch::IntArrayRef({2, 1}));
  CHECK(words_of(rows, 0) == Words{0x321});
  CHECK(words_of(rows, 1) == Words{0x654});
  const auto columns = pack_bits(codes, 4, 0);
  CHECK(columns.sizes() == torch::IntArrayRef({1, 3}));
  CHECK(columns.is_contiguous());
  CHECK(words_of(columns) == Words{0x41, 0x52, 0x63});
  CHECK(unpack_bits(columns, 4, 2, 0).equal(codes));
}

TEST_CASE("pack_bits: codes of any number of bits and any count come back", "[checkpoint]") {
  for (int64_t bits = 1; bits <= 8; ++bits) {
    for (const int64_t count : {0, 1, 3, 7, 8, 9, 31, 32, 33, 63, 65, 1000}) {
      INFO(bits << " bits, " << count << " codes");
      const auto codes = torch::randint(0, 1 << bits, {5, count}).to(torch::kUInt8);
      const auto words = pack_bits(codes, bits);
      REQUIRE(words.scalar_type() == torch::kInt32);
      REQUIRE(words.sizes() == torch::IntArrayRef({5, packed_words(count, bits)}));
      REQUIRE(packed_words(count, bits) == (count * bits + 31) / 32);
      REQUIRE(unpack_bits(words, bits, count).equal(codes));
      REQUIRE(unpack_bits(pack_bits(codes.t(), bits, 0), bits, count, 0).equal(codes.t()));
    }
  }
}

TEST_CASE("pack_bits: many rows, packed on several threads", "[checkpoint]") {
  const auto codes = torch::randint(0, 16, {700, 333}).to(torch::kUInt8);
  const auto words = pack_bits(codes, 4);
  CHECK(unpack_bits(words, 4, 333).equal(codes));
  CHECK(words.slice(0, 650, 651).equal(pack_bits(codes.slice(0, 650, 651), 4)));
}

TEST_CASE("unpack_bits: bits after the last code must be zero", "[checkpoint]") {
  for (const int64_t bits : {3, 4, 8}) {
    auto words = pack_bits(torch::ones({3, 9}, torch::kUInt8), bits);
    CHECK(unpack_bits(words, bits, 9).equal(torch::ones({3, 9}, torch::kUInt8)));
    words[1][words.size(1) - 1].bitwise_or_(int32_t{1} << (9 * bits % 32));
    CHECK_THROWS_AS(unpack_bits(words, bits, 9), std::invalid_argument);
    CHECK_THROWS_WITH(unpack_bits(words, bits, 9), Catch::Contains("must be zero"));
  }
}

TEST_CASE("pack_bits: what cannot be packed is the caller's mistake", "[checkpoint]") {
  const auto codes = bytes({1, 2, 3});
  CHECK_THROWS_WITH(pack_bits(codes, 0), "[pack_bits] bits must be between 1 and 8. Got 0.");
  CHECK_THROWS_WITH(pack_bits(codes, 9), Catch::Contains("Got 9"));
  CHECK_THROWS_WITH(pack_bits(bytes({3, 16}), 4), Catch::Contains("below 2^4. Got 16"));
  CHECK_THROWS_WITH(pack_bits(codes, 4, 2), Catch::Contains("dim is 0 or 1"));
  CHECK_THROWS_WITH(pack_bits(codes[0], 4), Catch::Contains("a matrix"));
  CHECK_THROWS_WITH(pack_bits(codes.to(torch::kInt32), 4), Catch::Contains("a matrix"));
  CHECK_THROWS_WITH(pack_bits({}, 4), Catch::Contains("Got none"));
  const auto words = pack_bits(codes, 4);
  CHECK_THROWS_WITH(unpack_bits(words, 4, 9), Catch::Contains("9 codes of 4 bits need 2 words"));
  CHECK_THROWS_WITH(unpack_bits(words, 4, -1), Catch::Contains("need"));
  CHECK_THROWS_WITH(unpack_bits(words.to(torch::kLong), 4, 3), Catch::Contains("a matrix"));
}
