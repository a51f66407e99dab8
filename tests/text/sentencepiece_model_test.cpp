#include "support/catch.h"
#include <limits>
#include <random>

#include "cupel/core/error.h"
#include "cupel/text/tokenizer.h"
#include "support/sentencepiece_bytes.h"
#include "support/temporary_folder.h"

using namespace cupel::test;

namespace {

const TemporaryFolder& folder() {
  static const TemporaryFolder temporary;
  return temporary;
}

std::unique_ptr<cupel::Tokenizer> load(const std::string& bytes) {
  return cupel::load_sentencepiece(folder().write("t.model", bytes));
}

// The rule (and place) of the FormatError that loading gives, or "accepted".
std::string refusal(const std::string& bytes) {
  try {
    load(bytes);
  } catch (const cupel::FormatError& error) {
    REQUIRE(error.file() == folder().file("t.model"));
    return error.where() + ": " + error.rule();
  }
  return "accepted";
}

std::string refusal(const SpmModel& model) { return refusal(model.bytes()); }

SpmModel with_piece(const SpmPiece& piece) {
  SpmModel model = tiny_spm();
  model.pieces.push_back(piece);
  return model;
}

void require_contains(const std::string& text, const std::string& part) {
  INFO("got: " << text);
  REQUIRE(text.find(part) != std::string::npos);
}

using Ids = std::vector<int64_t>;

}  // namespace

TEST_CASE("good models load") {
  REQUIRE(load(tiny_spm().bytes())->vocabulary() == 16);
  REQUIRE(load(tiny_spm_with_bytes().bytes())->vocabulary() == 272);
  SpmModel unigram = tiny_spm_with_bytes();
  unigram.model_type = 1;
  REQUIRE(load(unigram.bytes())->encode("hello a") == Ids{1, 8, 9, 15});
}

TEST_CASE("what real models carry is accepted") {
  SECTION("a NUL piece") {
    const auto tokenizer = load(with_piece({std::string(1, '\0'), -20}).bytes());
    REQUIRE(tokenizer->encode(std::string("a\0h", 3)) == Ids{1, 9, 15, 16, 10});
  }
  SECTION("pieces added without updating vocab_size") {
    SpmModel model = tiny_spm();
    model.trainer_extra = pb_varint(4, 5);  // the last value counts
    REQUIRE(refusal(model) == "accepted");
  }
  SECTION("extension and unknown fields") {
    SpmModel model = tiny_spm();
    model.trainer_extra = pb_varint(900, 7) + pb_bytes(901, "x") + pb_float(902, 1);
    model.extra = pb_bytes(200, "y");
    REQUIRE(refusal(model) == "accepted");
  }
  SECTION("a normal piece spelt like a control piece") {
    REQUIRE(refusal(with_piece({"<s>", -20})) == "accepted");
  }
  SECTION("a failing self-test is not run") {
    SpmModel model = tiny_spm();
    model.extra = pb_bytes(4, pb_bytes(1, pb_bytes(1, "hello") + pb_bytes(2, "x y z")));
    REQUIRE(refusal(model) == "accepted");
  }
}

TEST_CASE("rules for pieces") {
  require_contains(refusal(with_piece({""})), "piece 16: the piece is empty");
  require_contains(refusal(with_piece({"\xC3("})), "piece 16: the piece is not UTF-8");
  require_contains(refusal(with_piece({std::string(4097, 'x')})), "longer than 4096");
  REQUIRE(refusal(with_piece({std::string(4096, 'x')})) == "accepted");
  require_contains(refusal(with_piece({"x", std::numeric_limits<float>::quiet_NaN()})), "finite");
  require_contains(refusal(with_piece({"x", std::numeric_limits<float>::infinity()})), "finite");
  require_contains(refusal(with_piece({"x", 0, 0})), "type must be 1 to 6. Got 0");
  require_contains(refusal(with_piece({"x", 0, 7})), "type must be 1 to 6. Got 7");
  require_contains(refusal(with_piece({"x", 0, -1})), "type must be 1 to 6");
  require_contains(refusal(with_piece({"he"})), "already defined");
  require_contains(refusal(with_piece({"<s>", 0, 3})), "already defined");
  require_contains(refusal(with_piece({"<unk2>", 0, 2})), "more than one unknown");
  SpmModel no_unknown = tiny_spm();
  no_unknown.pieces[0].type = 1;
  require_contains(refusal(no_unknown), "no unknown piece");
  SpmModel none = tiny_spm();
  none.pieces.clear();
  require_contains(refusal(none), "no pieces");
}

TEST_CASE("rules for byte pieces") {
  for (const char* text : {"<0x-1>", "<0x4g>", "<0xab>", "<0x041>", "0x41", "<0x4>"}) {
    SpmModel model = tiny_spm_with_bytes();
    model.pieces.push_back({text, 0, 6});
    require_contains(refusal(model), "<0xNN>");
  }
  SpmModel twice = tiny_spm_with_bytes();
  twice.pieces.push_back({"<0x41>", 0, 6});
  require_contains(refusal(twice), "already defined");
  SpmModel incomplete = tiny_spm_with_bytes();
  incomplete.pieces.pop_back();
  require_contains(refusal(incomplete), "all 256 byte pieces. Got 255");
  SpmModel off = tiny_spm_with_bytes();
  off.byte_fallback = false;
  require_contains(refusal(off), "byte_fallback is off");
}

TEST_CASE("rules for NULs and nesting, where the library has fixed room") {
  require_contains(refusal(with_piece({std::string("a\0", 2), 0, 4})), "must not hold a NUL");
  SpmModel unigram = with_piece({std::string("a\0", 2)});
  unigram.model_type = 1;
  require_contains(refusal(unigram), "piece 16 holds a NUL");
  SpmModel nested = tiny_spm();
  for (int i = 1; i <= 64; ++i) nested.pieces.push_back({std::string(i, 'z'), 0, 4});
  REQUIRE(refusal(nested) == "accepted");
  REQUIRE(load(nested.bytes())->encode(std::string(100, 'z')) == Ids{1, 9, 79, 51});
  nested.pieces.push_back({std::string(65, 'z'), 0, 4});
  require_contains(refusal(nested), "more than 64");
}

TEST_CASE("rules for the specifications") {
  SpmModel model = tiny_spm();
  model.model_type = 5;
  require_contains(refusal(model), "model_type must be 1 to 4. Got 5");
  for (const uint32_t field : {40u, 41u, 42u, 43u}) {
    model = tiny_spm();
    model.trainer_extra = pb_varint(field, 16);
    require_contains(refusal(model), "must be -1 or a piece. Got 16 of 16");
    model.trainer_extra = pb_varint(field, static_cast<uint64_t>(int64_t{-1}));
    REQUIRE(refusal(model) == "accepted");
  }
}

TEST_CASE("rules for the protobuf framing") {
  const std::string good = tiny_spm().bytes();
  require_contains(refusal(good + pb_number(1 << 3 | 2) + pb_number(1000) + "x"), "runs past");
  require_contains(refusal(good + pb_number(9 << 3 | 2) + pb_number(~uint64_t{0})), "runs past");
  require_contains(refusal(good + "\x48" + std::string(10, '\xFF') + "\x01"), "64 bits");
  require_contains(refusal(good + "\x48" + std::string(9, '\xFF') + "\x02"), "64 bits");
  require_contains(refusal(good + pb_number(uint64_t{1} << 35) + "x"), "32 bits");
  require_contains(refusal(good + std::string(2, '\0')), "number 0");
  for (const int wire : {3, 4, 6, 7})
    require_contains(refusal(good + pb_number(9 << 3 | wire)), "wire type");
  require_contains(refusal(good + pb_varint(1, 3)), "pieces must have wire type 2. Got 0");
  require_contains(refusal(good + pb_bytes(1, pb_varint(1, 3))), "piece must have wire type 2");
  require_contains(refusal(good + pb_bytes(1, pb_varint(2, 3))), "score must have wire type 5");
  require_contains(refusal(good + pb_bytes(1, pb_bytes(3, "x"))), "type must have wire type 0");
}

// Without its specifications a model would load with other defaults and give other ids. Both come
// after the pieces and the last one ends the file, so no cut can leave a valid model.
TEST_CASE("every proper prefix of a model is refused") {
  const std::string good = tiny_spm().bytes();
  for (std::size_t size = 0; size < good.size(); ++size) {
    INFO("first " << size << " bytes");
    REQUIRE(refusal(good.substr(0, size)) != "accepted");
  }
}

TEST_CASE("a normalisation trie works and its rules hold") {
  SpmModel model = tiny_spm();
  TrieBuilder trie;
  trie.add('A', "a", 0x1F0);
  trie.add('Z', "hello", 0x1F1);
  const auto refused = [&](const TrieBuilder& bad) {
    model.charsmap = bad.blob();
    return refusal(model);
  };
  REQUIRE(refused(trie) == "accepted");
  REQUIRE(load(model.bytes())->encode("hello A Z") == Ids{1, 8, 9, 15, 8});

  SECTION("replacement outside, or without an end") {
    trie.units[0x1F0] = 0x80000000u | 100;
    require_contains(refused(trie), "lies outside");
    trie.units[0x1F0] = 0x80000000u;
    trie.replacements = "abc";
    trie.units[0x1F1] = 0x80000001u;
    require_contains(refused(trie), "has no end");
  }
  SECTION("replacement too long") {
    trie.add('B', std::string(4097, 'x'), 0x1F2);
    require_contains(refused(trie), "longer than 4096");
  }
  SECTION("a unit that points outside") {
    trie.units[256 ^ 'A'] |= 0x1FFu << 19;
    require_contains(refused(trie), "points outside");
  }
  SECTION("a root that points outside") {
    trie.units[0] = 512u << 10;
    require_contains(refused(trie), "unit 0 of the trie points outside");
  }
  SECTION("an endless chain of rules") {
    trie.units[256 ^ 'A'] = uint32_t{'A'} << 10 | 1u << 8 | 'A';  // its own child again
    trie.units[256] = 0x80000000u;
    require_contains(refused(trie), "cycle");
  }
  SECTION("sizes") {
    for (const uint32_t size : {3u, 2046u, 2056u, 2u << 30, ~0u}) {
      model.charsmap = little_endian(size) + trie.blob().substr(4);
      INFO(size);
      require_contains(refusal(model), "trie");
    }
    model.charsmap = "abc";
    require_contains(refusal(model), "trie size");
    model.charsmap = little_endian(0) + "abc";
    require_contains(refusal(model), "empty");
    model.charsmap = little_endian(1020) + std::string(1020, '\0') + "x";  // 255 units
    require_contains(refusal(model), "points outside");
  }
  SECTION("the denormaliser is checked too") {
    model.extra = pb_bytes(5, pb_bytes(2, little_endian(0) + "abc"));
    require_contains(refusal(model), "denormalizer_spec.precompiled_charsmap");
  }
}

TEST_CASE("more than 32 nested normalisation rules are refused") {
  TrieBuilder trie;
  trie.units.assign(512 * 64, 0x80000000u);
  trie.units[0] = 256u << 10;
  trie.replacements = std::string(1, '\0');
  const auto chain = [&](uint32_t rules) {  // rule k: k times 'A', in the block from 256 * k on
    for (uint32_t k = 1; k <= rules; ++k) {
      const uint32_t unit = 256 * k ^ 'A', base = 256 * (k + 1);
      trie.units[unit] = (unit ^ base) << 10 | 1u << 8 | 'A';
      trie.units[base] = 0x80000000u;
    }
    SpmModel model = tiny_spm();
    model.charsmap = trie.blob();
    return refusal(model);
  };
  REQUIRE(chain(32) == "accepted");
  require_contains(chain(33), "more than 32 rules");
}

TEST_CASE("files of another kind are named") {
  require_contains(refusal(std::string()), "empty");
  require_contains(refusal(std::string("version https://git-lfs.github.com/spec/v1\noid x\n")),
                   "git-lfs pointer");
  require_contains(refusal(std::string("<!DOCTYPE html><html>")), "web page");
  require_contains(refusal(std::string("{\"version\": \"1.0\"}")), "JSON");
  require_contains(refusal(std::string("IQ== 0\nIg== 1\n")), "tiktoken");
  REQUIRE_THROWS_AS(cupel::load_sentencepiece(folder().file("absent")), cupel::FormatError);
  REQUIRE_THROWS_AS(cupel::load_sentencepiece(folder().path()), cupel::FormatError);
}

TEST_CASE("damaged bytes are refused or harmless") {
  SpmModel model = tiny_spm_with_bytes();
  TrieBuilder trie;
  trie.add('A', "a", 0x1F0);
  model.charsmap = trie.blob();
  model.pieces.push_back({"<sep>", 0, 4});
  const std::string good = model.bytes();
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string bad = good;
    for (int changes = 1 + random() % 3; changes > 0; --changes)
      bad[random() % bad.size()] = static_cast<char>(random());
    try {
      const auto tokenizer = load(bad);
      ++accepted;
      tokenizer->decode(tokenizer->encode("hello A w\xC3\xA9 <sep>  llo"));
    } catch (const cupel::FormatError&) {
    }
  }
  REQUIRE(accepted > 0);
}
