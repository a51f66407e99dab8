#include "cupel/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <new>
#include <set>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "text/sentencepiece_model.h"
#include "text/text_parts.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxModelBytes = uint64_t{64} << 20;
// libsentencepiece takes some 80 bytes of memory a character, so long texts go to it in parts.
constexpr std::size_t kPartBytes = std::size_t{64} << 10;

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& path, std::string_view bytes,
                         const SentencePieceModel& model, bool add_bos, bool add_eos)
      : path_(path),
        pieces_(model.pieces),
        expansion_(model.expansion),
        separable_(model.separable),
        dummy_prefix_(model.add_dummy_prefix),
        add_bos_(add_bos),
        add_eos_(add_eos) {
    try {
      const auto status = processor_.LoadFromSerializedProto(model.bytes);
      if (!status.ok()) throw FormatError(path, "", library_message(status));
    } catch (const FormatError&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {  // its trie builder throws
      throw FormatError(path, "", c10::str("SentencePiece refuses the model: ", error.what()));
    }
    bos_ = processor_.bos_id();
    eos_ = processor_.eos_id();
    if (add_bos && bos_ < 0)
      throw FormatError(path, "", "a BOS is to be added, but the model has none (add_bos_token).");
    if (add_eos && eos_ < 0)
      throw FormatError(path, "", "an EOS is to be added, but the model has none (add_eos_token).");
    Sha256 hash;
    hash.update(bytes);
    hash.update(c10::str("\nadd_bos=", add_bos, " add_eos=", add_eos));
    fingerprint_ = hash.hex();
  }

  std::vector<int64_t> encode(const std::string& text, bool special_tokens) const override {
    const std::size_t bad = first_invalid_utf8(text);
    check(bad == std::string_view::npos, "encode", "text must be UTF-8. Got an invalid byte at ",
          "offset ", bad, ".");
    // libsentencepiece counts in int.
    const int64_t limit = std::numeric_limits<int>::max() / expansion_ - 64;
    check(static_cast<int64_t>(text.size()) <= limit, "encode", "text must have at most ", limit,
          " bytes. Got ", text.size(), ".");
    std::vector<int64_t> ids;
    if (special_tokens && add_bos_) ids.push_back(bos_);
    std::vector<int> pieces;
    for (const auto part : parts(text)) {
      const auto status = processor_.Encode(part, &pieces);
      if (!status.ok()) throw FormatError(path_, "encode", library_message(status));
      // Room as the text so far foretells: growth by doubling would hold the ids up to three times.
      const std::size_t count = ids.size() + pieces.size();
      const std::size_t read = part.data() + part.size() - text.data();
      if (ids.capacity() <= count) {
        const std::size_t all = count * text.size() / std::max<std::size_t>(read, 1);
        ids.reserve(all + all / 16 + 2);
      }
      ids.insert(ids.end(), pieces.begin(), pieces.end());
    }
    if (special_tokens && add_eos_) ids.push_back(eos_);
    return ids;
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::vector<int> pieces;
    pieces.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      check(ids[i] >= 0 && ids[i] < pieces_, "decode", "ids must be in [0, ", pieces_, "). Got ",
            ids[i], " at position ", i, ".");
      const int id = static_cast<int>(ids[i]);
      if (!processor_.IsControl(id)) pieces.push_back(id);
    }
    std::string text;
    const auto status = processor_.Decode(pieces, &text);
    if (!status.ok()) throw FormatError(path_, "decode", library_message(status));
    return text;
  }

  int64_t vocabulary() const override { return pieces_; }
  int64_t bos() const override { return bos_; }
  int64_t eos() const override { return eos_; }
  int64_t special_id(const std::string& text) const override {
    const int id = processor_.PieceToId(text);  // the unknown piece's for what is no piece
    return processor_.IsControl(id) ? id : -1;
  }
  std::string fingerprint() const override { return fingerprint_; }
  bool concurrent() const override { return true; }

 private:
  static std::string library_message(const sentencepiece::util::Status& status) {
    return c10::str("SentencePiece refuses it: ", status.error_message());
  }

  std::vector<std::string_view> parts(std::string_view text) const {
    if (separable_) return text_parts(text, kPartBytes, dummy_prefix_);
    return {text};
  }

  std::string path_;
  sentencepiece::SentencePieceProcessor processor_;
  int64_t pieces_, expansion_;
  bool separable_, dummy_prefix_;
  bool add_bos_, add_eos_;
  int64_t bos_ = -1, eos_ = -1;
  std::string fingerprint_;
};

std::unique_ptr<Tokenizer> load(const std::string& path, const std::string& bytes,
                                const SentencePieceModel& model, bool add_bos, bool add_eos) {
  return std::make_unique<SentencePieceTokenizer>(path, bytes, model, add_bos, add_eos);
}

/// What tokenizer_config.json says beyond the .model file.
struct TokenizerConfig {
  bool add_bos = true, add_eos = false;  // LlamaTokenizer's defaults in transformers
};

TokenizerConfig read_config(const std::string& path, const SentencePieceModel& model) {
  const Json json = read_json(path);
  const auto flag = [&](const char* name, bool otherwise) {
    const auto entry = json.find(name);
    if (entry == json.end() || entry->is_null()) return otherwise;
    if (!entry->is_boolean()) throw FormatError(path, name, "must be true or false.");
    return entry->get<bool>();
  };
  // Other classes shift ids or frame the text in ways of their own.
  static const std::set<std::string> known{
      "LlamaTokenizer",          "LlamaTokenizerFast", "CodeLlamaTokenizer",
      "CodeLlamaTokenizerFast",  "GemmaTokenizer",     "GemmaTokenizerFast",
      "PreTrainedTokenizerFast", "TokenizersBackend",  "SentencePieceBackend"};
  if (const auto entry = json.find("tokenizer_class"); entry != json.end() && !entry->is_null()) {
    if (!entry->is_string()) throw FormatError(path, "tokenizer_class", "must be a string.");
    const auto name = entry->get<std::string>();
    if (!known.count(name)) {
      throw FormatError(path, "tokenizer_class",
                        c10::str("C++ reads the SentencePiece tokenizers of Llama only. Got ", name,
                                 ". From Python any Hugging Face tokenizer can be passed."));
    }
  }
  if (flag("add_prefix_space", model.add_dummy_prefix) != model.add_dummy_prefix) {
    throw FormatError(path, "add_prefix_space",
                      c10::str("differs from the model's own add_dummy_prefix (",
                               model.add_dummy_prefix ? "true" : "false", ")."));
  }
  return {flag("add_bos_token", true), flag("add_eos_token", false)};
}

/// "tokenizer.json, vocab.json": what a folder without tokenizer.model has instead.
std::string tokenizer_files(const fs::path& folder) {
  static const std::set<std::string> known{
      "tokenizer.json", "vocab.json",    "merges.txt",
      "vocab.txt",      "tekken.json",   "spiece.model",
      "qwen.tiktoken",  "tokenizer.bin", "sentencepiece.bpe.model"};
  std::set<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (known.count(name) || name.find(".model") != std::string::npos) found.insert(name);
  }
  std::string list;
  for (const auto& name : found) list += (list.empty() ? "" : ", ") + name;
  return list;
}

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path, bool add_bos, bool add_eos) {
  const std::string bytes = read_file(path, kMaxModelBytes);
  return load(path, bytes, check_sentencepiece(path, bytes), add_bos, add_eos);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  std::error_code error;
  const fs::path given(path);
  const bool folder = fs::is_directory(given, error);
  if (!folder && !fs::exists(given, error))
    throw FormatError(path, "", "there is no such folder or .model file.");
  const fs::path model_path = folder ? given / "tokenizer.model" : given;
  if (!fs::exists(model_path, error)) {
    const std::string others = tokenizer_files(given);
    throw FormatError(
        path, "",
        c10::str("the folder has no tokenizer.model",
                 others.empty() ? " and no other tokenizer file" : ", only " + others,
                 ". C++ reads SentencePiece .model files only (give the file itself if it has "
                 "another name); from Python any Hugging Face tokenizer can be passed."));
  }
  const std::string name = model_path.string();
  const std::string bytes = read_file(name, kMaxModelBytes);
  const SentencePieceModel model = check_sentencepiece(name, bytes);
  // The file and its folder give the same tokenizer, so both heed the file beside it.
  const fs::path config_path = model_path.parent_path() / "tokenizer_config.json";
  TokenizerConfig config;
  if (fs::exists(config_path, error)) config = read_config(config_path.string(), model);
  return load(name, bytes, model, config.add_bos, config.add_eos);
}

}  // namespace cupel
