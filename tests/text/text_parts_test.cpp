#include "text/text_parts.h"

#include <numeric>
#include <random>

#include "cupel/text/tokenizer.h"
#include "support/catch.h"
#include "support/sentencepiece_bytes.h"
#include "support/temporary_folder.h"
#include "text/sentencepiece_model.h"

using namespace cupel::test;

namespace {

using Ids = std::vector<int64_t>;
using Parts = std::vector<std::string_view>;

const std::string kSpace = "\xE2\x96\x81";

bool separable(const SpmModel& model) {
  return cupel::check_sentencepiece("m", model.bytes()).separable;
}

SpmModel with_pieces(SpmModel model, const std::vector<SpmPiece>& pieces) {
  model.pieces.insert(model.pieces.end(), pieces.begin(), pieces.end());
  return model;
}

SpmModel with_normalizer(SpmModel model, const std::string& fields) {
  model.normalizer_extra = fields;
  return model;
}

// Texts of 64 KiB at most reach the library whole, so this is the library's own answer.
struct Loaded {
  explicit Loaded(const SpmModel& model)
      : dummy_prefix(cupel::check_sentencepiece("m", model.bytes()).add_dummy_prefix),
        tokenizer(cupel::load_sentencepiece(folder.write("m", model.bytes()), false)) {}

  Ids whole(const std::string& text) const { return tokenizer->encode(text); }
  Ids in_parts(const std::string& text, std::size_t least) const {
    Ids ids;
    for (const auto part : cupel::text_parts(text, least, dummy_prefix)) {
      const Ids more = whole(std::string(part));
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  }

  TemporaryFolder folder;
  bool dummy_prefix;
  std::unique_ptr<cupel::Tokenizer> tokenizer;
};

// Every kind of character that could matter at a cut, often beside one another.
std::string nasty_text(std::mt19937& random, int units) {
  static const std::vector<std::string> kUnits{
      " ",   " ",  "  ",     "     ",  kSpace,  "h",
      "e",   "he", "l",      "llo",    "hello", "w",
      "wo",  "a",  "\t",     "\n",     "\r\n",  ".",
      "é",   "日", "\u00A0", "\u3000", "🙂",    "<unk>",
      "<s>", "x",  "xy",     "<0x41>", "l l",   std::string(1, '\0')};
  std::string text;
  for (int i = 0; i < units; ++i) text += kUnits[random() % kUnits.size()];
  return text;
}

std::vector<SpmModel> separable_models() {
  const SpmModel defined = with_pieces(
      tiny_spm_with_bytes(),
      {{"xy", 0, 4}, {kSpace + kSpace, 0, 4}, {kSpace + "wo", 0, 4}, {"\n", 0, 4}, {"o\t", 0, 4}});
  SpmModel unused = tiny_spm();
  for (const int piece : {3, 5, 6, 8, 9}) unused.pieces[piece].type = 5;
  const SpmModel runs = with_pieces(tiny_spm(), {{kSpace + kSpace, -1.5, 1},
                                                 {kSpace + kSpace + kSpace, -1.25, 1},
                                                 {kSpace + kSpace + "h", -0.5, 1},
                                                 {"<unk>", -1, 1}});
  const std::string removes = pb_varint(4, 1);
  return {tiny_spm(),
          tiny_spm_with_bytes(),
          defined,
          runs,
          unused,
          with_normalizer(tiny_spm(), removes),
          with_normalizer(defined, removes),
          with_normalizer(runs, removes),
          with_normalizer(runs, pb_varint(3, 0)),
          with_normalizer(defined, pb_varint(3, 0))};
}

}  // namespace

TEST_CASE("cuts lie in front of a run of spaces, behind another character") {
  REQUIRE(cupel::text_parts("a bc  d ", 1, true) == Parts{"a", "bc", " d "});
  REQUIRE(cupel::text_parts("a bc  d ", 1, false) == Parts{"a", " bc", "  d "});
  REQUIRE(cupel::text_parts("a bc d e", 2, true) == Parts{"a bc", "d e"});
  REQUIRE(cupel::text_parts("a bc d e", 9, true) == Parts{"a bc d e"});
  REQUIRE(cupel::text_parts("  a", 0, true) == Parts{"  a"});
  REQUIRE(cupel::text_parts("a\tb\nc", 1, true) == Parts{"a\tb\nc"});
  REQUIRE(cupel::text_parts("a" + kSpace + " b", 1, true) == Parts{"a" + kSpace + " b"});
  REQUIRE(cupel::text_parts("", 1, true) == Parts{""});
}

TEST_CASE("the parts' ids are the text's") {
  std::mt19937 random(7);
  int which = 0;
  for (const auto& model : separable_models()) {
    INFO("model " << which++);
    REQUIRE(separable(model));
    const Loaded loaded(model);
    for (int i = 0; i < 400; ++i) {
      const std::string text = nasty_text(random, 1 + static_cast<int>(random() % 60));
      INFO("text \"" << text << "\"");
      const Ids whole = loaded.whole(text);
      REQUIRE(loaded.in_parts(text, 1) == whole);
      REQUIRE(loaded.in_parts(text, 1 + random() % 40) == whole);
    }
  }
}

// Each of these models gives other ids to the parts of the text beside it.
TEST_CASE("models whose ids reach over a space are encoded whole") {
  const std::string s = kSpace;
  SpmModel suffix = tiny_spm(), unknown = tiny_spm(), bare = tiny_spm();
  suffix.trainer_extra = pb_varint(24, 1);
  bare.pieces[9].text = "z";  // no piece for a lone space
  unknown.pieces[0].text = s;
  SpmModel charsmap = tiny_spm();
  TrieBuilder rules;
  rules.add(' ', "l", 300);
  charsmap.charsmap = rules.blob();
  const SpmModel crossing[] = {
      with_pieces(tiny_spm(), {{"o" + s, -0.5, 1}}),
      with_pieces(tiny_spm(), {{"o" + s + "w", 0, 4}}),
      with_normalizer(with_pieces(tiny_spm(), {{"o  w", 0, 4}}), pb_varint(4, 1)),
      suffix,
      bare,
      charsmap,
      with_normalizer(tiny_spm(), pb_varint(4, 1) + pb_varint(3, 0)),
  };
  const std::string texts[] = {"hello w", "hello w", "hello  w",      "hello w",
                               "héé é",   "hello w", "hello  hello w"};
  for (std::size_t i = 0; i < std::size(texts); ++i) {
    INFO("model " << i);
    REQUIRE_FALSE(separable(crossing[i]));
    const Loaded loaded(crossing[i]);
    REQUIRE(loaded.in_parts(texts[i], 1) != loaded.whole(texts[i]));
  }
  REQUIRE_FALSE(separable(unknown));
  REQUIRE_FALSE(separable(with_normalizer(tiny_spm(), pb_varint(5, 0))));
  for (const int type : {1, 3, 4}) {
    SpmModel other = tiny_spm();
    other.model_type = type;
    REQUIRE_FALSE(separable(other));
  }
}

TEST_CASE("long texts are encoded in parts, to the ids of the whole") {
  std::mt19937 random(11);
  std::vector<std::string> texts{nasty_text(random, 60000), std::string(70000, ' '),
                                 std::string(70000, 'h')};
  for (const char* end : {" ", "  ", " e", "  e", " e w h"}) {  // about the first cut
    texts.push_back(std::string(65535, 'h') + end);
    texts.push_back(std::string(65536, 'h') + end);
    texts.push_back(std::string(65536, ' ') + end);
  }
  for (const auto& model : separable_models()) {
    // A piece that no merges lead to, but with a space inside: the library sees the whole.
    const SpmModel twin = with_pieces(model, {{"never" + kSpace + "never", -1, 1}});
    REQUIRE_FALSE(separable(twin));
    const Loaded parts(model), whole(twin);
    for (const auto& text : texts) REQUIRE(parts.whole(text) == whole.whole(text));
  }
}
