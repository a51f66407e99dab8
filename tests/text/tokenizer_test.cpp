#include "cupel/text/tokenizer.h"

#include "support/catch.h"

#include "cupel/core/error.h"
#include "cupel/text/records.h"
#include "support/sentencepiece_bytes.h"
#include "support/shared_data.h"
#include "support/temporary_folder.h"

using namespace cupel::test;

namespace {

using Ids = std::vector<int64_t>;

struct Folder : TemporaryFolder {
  Folder() { write("tokenizer.model", tiny_spm_with_bytes().bytes()); }
  void config(const std::string& json) const { write("tokenizer_config.json", json); }
};

std::string load_error(const std::string& path) {
  try {
    cupel::load_tokenizer(path);
  } catch (const cupel::FormatError& error) {
    return error.what();
  }
  return "accepted";
}

void require_contains(const std::string& text, const std::string& part) {
  INFO("got: " << text);
  REQUIRE(text.find(part) != std::string::npos);
}

// Its first `count` code points.
std::string first_characters(const std::string& text, int64_t count) {
  std::size_t end = 0;
  for (; end < text.size(); ++end)
    if ((static_cast<unsigned char>(text[end]) & 0xC0) != 0x80 && count-- == 0) break;
  return text.substr(0, end);
}

}  // namespace

// Ids as the sentencepiece Python package gives them for the same bytes.
TEST_CASE("encode") {
  const TemporaryFolder folder;
  const auto tokenizer =
      cupel::load_sentencepiece(folder.write("m", tiny_spm_with_bytes().bytes()), true, false);
  REQUIRE(tokenizer->encode("hello world") == Ids{1, 8, 7, 13, 130, 12, 116});
  REQUIRE(tokenizer->encode("hello world", false) == Ids{8, 7, 13, 130, 12, 116});
  REQUIRE(tokenizer->encode(" hello  hello") == Ids{1, 9, 8, 9, 8});
  REQUIRE(tokenizer->encode("\xC3\xA9", false) == Ids{9, 211, 185});
  REQUIRE(tokenizer->encode("") == Ids{1});
  REQUIRE(tokenizer->vocabulary() == 272);
  REQUIRE(tokenizer->bos() == 1);
  REQUIRE(tokenizer->eos() == 2);
  REQUIRE_THROWS_AS(tokenizer->encode("a\xFFz"), std::invalid_argument);
}

TEST_CASE("text spelt like a control piece does not become one") {
  const TemporaryFolder folder;
  const auto tokenizer =
      cupel::load_sentencepiece(folder.write("m", tiny_spm_with_bytes().bytes()));
  const Ids ids = tokenizer->encode("</s>", false);
  REQUIRE(std::find(ids.begin(), ids.end(), 2) == ids.end());
  REQUIRE(tokenizer->decode(ids) == "</s>");
}

TEST_CASE("a piece that the library cannot emit is an error, not a crash") {
  SpmModel model = tiny_spm();
  model.pieces.push_back({"q", 0, 3});  // a control piece of one character
  const TemporaryFolder folder;
  const auto tokenizer = cupel::load_sentencepiece(folder.write("m", model.bytes()));
  REQUIRE_THROWS_AS(tokenizer->encode("q"), cupel::FormatError);
  REQUIRE(tokenizer->encode("h", false) == Ids{9, 10});
}

TEST_CASE("decode") {
  const TemporaryFolder folder;
  const auto tokenizer =
      cupel::load_sentencepiece(folder.write("m", tiny_spm_with_bytes().bytes()));
  for (const std::string text : {"hello world", " hello  hello", "\xC3\xA9 h\n\t", "", "  "})
    REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
  REQUIRE(tokenizer->decode({1, 8, 2, 8, 1}) == "hello hello");
  REQUIRE(tokenizer->decode({211}) == "\xEF\xBF\xBD");
  REQUIRE_THROWS_AS(tokenizer->decode({8, 272}), std::invalid_argument);
  REQUIRE_THROWS_AS(tokenizer->decode({-1}), std::invalid_argument);
  REQUIRE_THROWS_AS(tokenizer->decode({int64_t{1} << 32}), std::invalid_argument);
}

TEST_CASE("the folder's configuration says what is added") {
  const Folder folder;
  const auto ids = [&] { return cupel::load_tokenizer(folder.path())->encode("hello"); };
  REQUIRE(ids() == Ids{1, 8});
  folder.config("{}");
  REQUIRE(ids() == Ids{1, 8});
  folder.config(R"({"add_bos_token": false, "tokenizer_class": "LlamaTokenizer"})");
  REQUIRE(ids() == Ids{8});
  folder.config(R"({"add_bos_token": null, "add_eos_token": true, "add_prefix_space": true})");
  REQUIRE(ids() == Ids{1, 8, 2});
  REQUIRE(cupel::load_tokenizer(folder.file("tokenizer.model"))->encode("hello") == Ids{1, 8, 2});
}

TEST_CASE("a configuration that cannot be followed is refused") {
  const Folder folder;
  const auto error = [&](const std::string& json) {
    folder.config(json);
    return load_error(folder.path());
  };
  require_contains(error(R"({"add_bos_token": "yes"})"), "add_bos_token: must be true or false");
  require_contains(error(R"({"tokenizer_class": "XLMRobertaTokenizer"})"), "XLMRobertaTokenizer");
  require_contains(error(R"({"tokenizer_class": 3})"), "must be a string");
  require_contains(error(R"({"add_prefix_space": false})"), "add_prefix_space");
  require_contains(error("not json"), "tokenizer_config.json");
}

TEST_CASE("a BOS that the model lacks is an error") {
  SpmModel model = tiny_spm();
  model.pieces[1].text = "<begin>";
  const TemporaryFolder folder;
  const std::string path = folder.write("tokenizer.model", model.bytes());
  require_contains(load_error(path), "the model has none");
  const auto tokenizer = cupel::load_sentencepiece(path, false);
  REQUIRE(tokenizer->bos() == -1);
  REQUIRE(tokenizer->encode("hello") == Ids{8});
}

TEST_CASE("folders without a SentencePiece model say what they have") {
  const TemporaryFolder folder;
  require_contains(load_error(folder.file("absent")), "no such folder");
  require_contains(load_error(folder.path()), "no other tokenizer file");
  folder.write("tokenizer.json", "{}");
  require_contains(load_error(folder.path()), "only tokenizer.json");
  require_contains(load_error(folder.path()), "Python");
  folder.write("tokenizer.model", "IQ== 0\nIg== 1\n");
  require_contains(load_error(folder.path()), "tiktoken");
}

TEST_CASE("the fingerprint follows the file and what is added") {
  const Folder folder;
  const std::string path = folder.file("tokenizer.model");
  const auto first = cupel::load_sentencepiece(path)->fingerprint();
  REQUIRE(first.size() == 64);
  REQUIRE(first == cupel::load_sentencepiece(path)->fingerprint());
  REQUIRE(first != cupel::load_sentencepiece(path, false)->fingerprint());
  folder.write("tokenizer.model", tiny_spm().bytes());
  REQUIRE(first != cupel::load_sentencepiece(path)->fingerprint());
}

// Token counts and first ids as transformers gives them (models/anchors.json).
TEST_CASE("real models: the ids of transformers") {
  const std::string text_path = shared_path("data/tinystories/heldout.txt");
  if (text_path.empty() || shared_path("models/stories260K").empty()) {
    WARN("skipped: no shared models and texts here");
    return;
  }
  const std::string text = first_characters(cupel::read_text(text_path), 200000);
  const auto stories = cupel::load_tokenizer(shared_path("models/stories260K"))->encode(text);
  REQUIRE(stories.size() == 103447);
  REQUIRE(Ids(stories.begin(), stories.begin() + 24) ==
          Ids{1,   403, 407, 261, 378, 432, 383, 397, 396, 261, 376, 298,
              315, 421, 395, 301, 414, 427, 415, 417, 411, 426, 301, 414});
  const auto baby = cupel::load_tokenizer(shared_path("models/babyllama-tok105"))->encode(text);
  REQUIRE(baby.size() == 199806);
  REQUIRE(Ids(baby.begin(), baby.begin() + 24) ==
          Ids{1, 3, 34, 9, 22, 4, 3, 18, 20, 7, 9, 3, 5, 3, 6, 10, 16, 4, 25, 3, 6, 8, 4, 13});
}

TEST_CASE("real models: all load, Llama 3's file is named for what it is") {
  if (shared_path("tokenizers/llama2").empty()) {
    WARN("skipped: no shared tokenizers here");
    return;
  }
  const auto llama = cupel::load_tokenizer(shared_path("tokenizers/llama2"));
  REQUIRE(llama->vocabulary() == 32000);
  REQUIRE(llama->encode("Hello world") == Ids{1, 15043, 3186});
  const auto v1 = cupel::load_tokenizer(shared_path("tokenizers/mistral/tokenizer.model.v1"));
  REQUIRE(v1->vocabulary() == 32000);
  const auto v3 = cupel::load_tokenizer(
      shared_path("tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3"));
  REQUIRE(v3->vocabulary() == 32768);
  for (const auto* tokenizer : {&llama, &v1, &v3}) {
    const std::string text = "Two  spaces, a tab\t, \xE6\x97\xA5\xE6\x9C\xAC and \xF0\x9F\xA4\x97.";
    REQUIRE((*tokenizer)->decode((*tokenizer)->encode(text)) == text);
  }
  require_contains(load_error(shared_path("tokenizers/llama3")), "tiktoken");
  require_contains(load_error(shared_path("tokenizers/phi3")), "tokenizer.json");
}
