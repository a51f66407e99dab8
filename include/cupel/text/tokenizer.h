#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cupel {

/// Text <-> token ids.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Token ids of UTF-8 `text`; with `special_tokens`, what the tokenizer's own configuration adds
  /// (for Llama one BOS in front), once for the whole text.
  virtual std::vector<int64_t> encode(const std::string& text,
                                      bool special_tokens = true) const = 0;

  /// Text of `ids`; special tokens (BOS, EOS, padding) give no text.
  virtual std::string decode(const std::vector<int64_t>& ids) const = 0;

  virtual int64_t vocabulary() const = 0;  ///< number of ids: every id is below this
  virtual int64_t bos() const = 0;         ///< -1 when there is none
  virtual int64_t eos() const = 0;         ///< -1 when there is none

  /// Id of a special token by its text, such as "</s>"; -1 where there is none, or where encode()
  /// reads such texts itself. What encode() is given is plain text otherwise: data cannot end a
  /// sequence.
  virtual int64_t special_id(const std::string& text) const {
    (void)text;
    return -1;
  }

  /// SHA-256 of what defines the tokenizer, for provenance.
  virtual std::string fingerprint() const = 0;

  /// Several threads may encode and decode at once.
  virtual bool concurrent() const { return false; }
};

/// Reads a SentencePiece .model file. The file is checked field by field (lengths, piece types,
/// scores finite, UTF-8, one unknown piece, byte pieces of the form <0xNN>) before the library
/// sees it. Throws FormatError. `add_bos`/`add_eos` say what encode() adds.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path, bool add_bos = true,
                                              bool add_eos = false);

/// The tokenizer of a Hugging Face model folder (or of a .model file): tokenizer.model with
/// add_bos_token and add_eos_token from tokenizer_config.json. FormatError when the folder has no
/// tokenizer.model, naming what it has instead and what to do (pass a Python tokenizer).
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

}  // namespace cupel
