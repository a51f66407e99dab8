#include "cupel/calibration/windows.h"

#include "support/catch.h"
#include <map>

#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "support/temporary_folder.h"

using cupel::Calibration;
using cupel::sample_windows;
using cupel::test::TemporaryFolder;

namespace {

// One token a byte. Counts how often each text is encoded.
class ByteTokenizer : public cupel::Tokenizer {
 public:
  explicit ByteTokenizer(bool add_bos = false) : add_bos_(add_bos) {}
  std::vector<int64_t> encode(const std::string& text, bool special_tokens) const override {
    ++calls[text];
    std::vector<int64_t> ids;
    if (special_tokens && add_bos_) ids.push_back(256);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(const std::vector<int64_t>&) const override { return ""; }
  int64_t vocabulary() const override { return 257; }
  int64_t bos() const override { return 256; }
  int64_t eos() const override { return -1; }
  std::string fingerprint() const override { return ""; }

  mutable std::map<std::string, int> calls;

 private:
  bool add_bos_;
};

// Text without a short period, so that a window tells where it was taken.
std::string text_of(int64_t length, int offset = 0) {
  std::string text;
  for (int64_t i = 0; i < length; ++i)
    text += static_cast<char>('!' + (i * i + offset + i / 7) % 90);
  return text;
}

std::vector<int64_t> ids_of(const torch::Tensor& sample) {
  return {sample.data_ptr<int64_t>(), sample.data_ptr<int64_t>() + sample.numel()};
}

std::vector<int64_t> ids_of(const std::string& text) { return ByteTokenizer().encode(text, true); }

template <typename Error = std::invalid_argument, typename Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

void require_contains(const std::string& text, const std::string& part) {
  INFO("got: " << text);
  REQUIRE(text.find(part) != std::string::npos);
}

std::string jsonl(const std::vector<std::string>& documents) {
  std::string text;
  for (const auto& document : documents) {
    text += "{\"text\": \"";
    for (const char c : document) text += (c == '"' || c == '\\' ? "\\" : "") + std::string(1, c);
    text += "\"}\n";
  }
  return text;
}

}  // namespace

// Python: random.seed(s); [random.randint(0, 1000 - 100 - 1) for _ in range(6)]
TEST_CASE("windows of a text start where Python's random says") {
  const TemporaryFolder folder;
  const std::string text = text_of(1000), path = folder.write("c.txt", text);
  const std::map<int64_t, std::vector<int64_t>> starts{{0, {864, 394, 776, 430, 41, 265}},
                                                       {42, {654, 114, 25, 759, 281, 250}}};
  for (const auto& [seed, expected] : starts) {
    const ByteTokenizer tokenizer;
    const auto calibration =
        sample_windows(path, tokenizer, {.samples = 6, .length = 100, .seed = seed});
    REQUIRE(calibration.samples.size() == 6);
    for (std::size_t i = 0; i < 6; ++i)
      REQUIRE(ids_of(calibration.samples[i]) == ids_of(text.substr(expected[i], 100)));
    REQUIRE(tokenizer.calls.at(text) == 1);
    REQUIRE(calibration.seed == seed);
    REQUIRE(calibration.source == "c.txt");
    REQUIRE(calibration.source_sha256 == cupel::sha256(text));
    REQUIRE(calibration.tokens() == 600);
    require_contains(calibration.rule, "randint(0, 899)");
    calibration.validate(257);
  }
}

TEST_CASE("special tokens count once for a text") {
  const TemporaryFolder folder;
  const std::string path = folder.write("c.txt", "abc");
  const auto calibration = sample_windows(path, ByteTokenizer(true), {.samples = 3, .length = 3});
  for (const auto& sample : calibration.samples)  // 4 tokens: only start 0 is possible
    REQUIRE(ids_of(sample) == std::vector<int64_t>{256, 'a', 'b'});
}

// Python: lengths = [5, 40, 21, 100, 20, 64]; random.seed(s); per sample
//   while True: d = random.randint(0, 5); if lengths[d] > 20: break
//   start = random.randint(0, lengths[d] - 20 - 1)
TEST_CASE("windows of documents are drawn as Python draws them") {
  const TemporaryFolder folder;
  std::vector<std::string> documents;
  for (const int length : {5, 40, 21, 100, 20, 64})
    documents.push_back(text_of(length, static_cast<int>(documents.size()) * 11));
  using Draws = std::vector<std::pair<int64_t, int64_t>>;
  const std::map<int64_t, std::pair<Draws, int64_t>> expected{
      {0, {{{3, 53}, {2, 0}, {3, 38}, {3, 45}, {1, 16}, {1, 9}, {1, 3}, {2, 0}}, 11}},
      {7, {{{2, 0}, {3, 6}, {2, 0}, {1, 1}, {3, 53}, {1, 2}, {3, 7}, {1, 18}}, 17}}};
  for (const std::string name : {"c.jsonl", "c.json"}) {
    const std::string path = folder.write(name, jsonl(documents));
    for (const auto& [seed, outcome] : expected) {
      const ByteTokenizer tokenizer;
      const auto calibration =
          sample_windows(path, tokenizer, {.samples = 8, .length = 20, .seed = seed});
      for (std::size_t i = 0; i < 8; ++i) {
        const auto& [document, start] = outcome.first[i];
        REQUIRE(ids_of(calibration.samples[i]) == ids_of(documents[document].substr(start, 20)));
      }
      REQUIRE(calibration.documents_tried == outcome.second);
      REQUIRE(calibration.source_sha256 == cupel::sha256(jsonl(documents)));
      for (const auto& [text, calls] : tokenizer.calls) REQUIRE(calls == 1);
    }
  }
}

TEST_CASE("too little text is an error with both numbers") {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string text = folder.write("c.txt", text_of(100));
  const auto error = [&](const std::string& path, const cupel::WindowOptions& options) {
    return error_of([&] { sample_windows(path, tokenizer, options); });
  };
  require_contains(error(text, {.length = 100}),
                   "[sample_windows] needs more than 100 tokens for one window");
  require_contains(error(text, {.length = 100}), "Got 100 tokens in ");
  REQUIRE(error(text, {.length = 99}) == "accepted");
  const std::string documents = folder.write("c.jsonl", jsonl({"abc", text_of(100), "de"}));
  require_contains(error(documents, {.length = 100}),
                   "0 of 3 documents are longer than 100 tokens, the longest has 100");
  REQUIRE(error(documents, {.length = 99}) == "accepted");
  // A long document exists, so the bound on draws ends the search.
  require_contains(error(documents, {.samples = 50, .length = 99, .max_documents_tried = 3}),
                   "after 3 draws (at most 3)");
  require_contains(error(folder.write("d.jsonl", "\n"), {.length = 9}), "needs a document");
  REQUIRE_THROWS_AS(sample_windows(folder.write("e.txt", ""), tokenizer), cupel::FormatError);
}

TEST_CASE("options out of range and unknown files") {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string path = folder.write("c.txt", text_of(100));
  const auto error = [&](const std::string& file, const cupel::WindowOptions& options) {
    return error_of([&] { sample_windows(file, tokenizer, options); });
  };
  require_contains(error(path, {.samples = 0}), "samples must be 1");
  require_contains(error(path, {.length = 0}), "length must be 1");
  require_contains(error(path, {.length = int64_t{1} << 40}), "length must be 1");
  require_contains(error(path, {.length = 9, .seed = -1}), "seed must not be negative. Got -1");
  require_contains(error(path, {.length = 9, .max_documents_tried = -1}), "max_documents_tried");
  require_contains(error(folder.write("c.parquet", "x"), {.length = 9}), "must end in .txt");
  REQUIRE_THROWS_AS(sample_windows(folder.file("absent.txt"), tokenizer), cupel::FormatError);
  REQUIRE_THROWS_AS(sample_windows(folder.file("absent.jsonl"), tokenizer), cupel::FormatError);
}

TEST_CASE("a calibration from tensors") {
  for (const auto dtype : {torch::kInt64, torch::kInt32, torch::kInt16, torch::kUInt8}) {
    const torch::Tensor tokens = torch::arange(12, dtype).reshape({3, 4});
    const Calibration calibration(tokens);
    REQUIRE(calibration.samples.size() == 3);
    REQUIRE(calibration.samples[1].dtype() == torch::kInt64);
    REQUIRE(ids_of(calibration.samples[1]) == std::vector<int64_t>{4, 5, 6, 7});
    REQUIRE(calibration.source == "tokens");
    calibration.validate(12);
  }
  REQUIRE(Calibration(torch::arange(5)).samples.size() == 1);
  const Calibration ragged(std::vector<torch::Tensor>{torch::arange(5), torch::arange(2)});
  REQUIRE(ragged.tokens() == 7);
  const auto transposed = Calibration(torch::arange(6).reshape({2, 3}).t());
  REQUIRE(ids_of(transposed.samples[0]) == std::vector<int64_t>{0, 3});
}

TEST_CASE("a calibration does not change with the tensor it came from") {
  const torch::Tensor tokens = torch::arange(4);
  const Calibration calibration(tokens);
  const std::string before = calibration.hash();
  tokens.fill_(9);
  REQUIRE(calibration.hash() == before);
}

TEST_CASE("tensors that are no token ids are refused with their shape") {
  const auto error = [](const torch::Tensor& tokens) {
    return error_of([&] { Calibration calibration(tokens); });
  };
  require_contains(error(torch::zeros({2, 3})), "must be integers. Got float [2, 3]");
  require_contains(error(torch::ones({2}, torch::kBool)), "must be integers");
  require_contains(error(torch::zeros({2, 3, 4}, torch::kLong)), "Got [2, 3, 4]");
  require_contains(error(torch::tensor(3)), "Got []");
  require_contains(error(torch::Tensor()), "undefined");
  require_contains(
      error_of([] {
        Calibration calibration(std::vector<torch::Tensor>{torch::zeros({2, 3}, torch::kLong)});
      }),
      "each sample must be [length]. Got [2, 3]");
}

TEST_CASE("validate names the sample") {
  const auto error = [](const Calibration& calibration, int64_t vocabulary = 10) {
    return error_of([&] { calibration.validate(vocabulary); });
  };
  require_contains(error(Calibration()), "at least one sample");
  require_contains(error(Calibration(torch::zeros({0, 4}, torch::kLong))), "at least one sample");
  require_contains(error(Calibration(torch::zeros({2, 0}, torch::kLong))), "sample 0");
  require_contains(error(Calibration(torch::arange(12).reshape({3, 4}))),
                   "ids must be in [0, 10). Got sample 2 with id 10 at position 2");
  require_contains(error(Calibration(torch::tensor({1, -3}))), "id -3 at position 1");
  Calibration edited(torch::arange(4));
  edited.samples.push_back(torch::rand({3}));
  require_contains(error(edited), "sample 1 must hold integers");
  edited.samples.back() = torch::Tensor();
  require_contains(error(edited), "sample 1 must hold tokens");
  edited.samples.back() = torch::arange(3);
  REQUIRE(error(edited) == "accepted");
}

// Python: hashlib.sha256(struct.pack('<8q', 2, 2, 3, 7, 9, 1, 2, 300)).hexdigest()
TEST_CASE("the hash covers number, lengths and ids") {
  const Calibration calibration(
      std::vector<torch::Tensor>{torch::tensor({7, 9}), torch::tensor({1, 2, 300})});
  REQUIRE(calibration.hash() == "123a0c950708d9ae83ac62653368d3f9125fa38e414af0c0bae2bab2d926bd4f");
  const Calibration moved(
      std::vector<torch::Tensor>{torch::tensor({7, 9, 1}), torch::tensor({2, 300})});
  REQUIRE(moved.hash() != calibration.hash());
}
