// Field numbers are those of sentencepiece_model.proto. Rules go no further than safety and than
// what libsentencepiece itself refuses: real models carry NUL pieces, added pieces that
// trainer_spec.vocab_size does not count, and extension fields.
#include "text/sentencepiece_model.h"

#include <algorithm>
#include <bitset>
#include <cmath>
#include <optional>
#include <unordered_set>
#include <vector>

#include "core/download_artefact.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "text/protobuf.h"

namespace cupel {

namespace {

constexpr std::size_t kMaxPiece = 4096;  // libsentencepiece recurses over an unused piece's parts
constexpr std::size_t kMaxNested = 64;   // its array of matching user-defined pieces on the stack

enum PieceType { normal = 1, unknown, control, user_defined, unused, byte };
enum ModelType { unigram = 1, bpe, word, character };

struct Piece {
  std::string_view text;
  float score = 0;
  uint64_t type = normal;
};

// The value of "<0xNN>" with upper-case digits, or -1.
int byte_value(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const auto high = digits.find(text[3]), low = digits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return -1;
  return static_cast<int>(high * 16 + low);
}

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, a space in pieces

// Whether a space stands behind another character, as in no piece of most models.
bool has_inner_space(std::string_view piece) {
  while (piece.starts_with(kSpace)) piece.remove_prefix(kSpace.size());
  return piece.find(kSpace) != std::string_view::npos;
}

class Checker {
 public:
  explicit Checker(const std::string& file) : file_(file) {}

  SentencePieceModel check(std::string_view bytes) {
    ProtobufMessage message(file_, "model", bytes);
    for (ProtobufField field; message.next(field);) {
      switch (field.number) {
        case 1:
          add_piece(message.text(field, "pieces"));
          break;
        case 2:
          read_trainer(message.text(field, "trainer_spec"));
          break;
        case 3:
          read_normalizer(message.text(field, "normalizer_spec"), "normalizer_spec");
          break;
        case 5:
          read_normalizer(message.text(field, "denormalizer_spec"), "denormalizer_spec");
          break;
        default:
          continue;  // the self-test would encode (and print) at load; the rest is unknown
      }
      model_.bytes += field.whole;
    }
    finish(message);
    return std::move(model_);
  }

 private:
  void add_piece(std::string_view bytes) {
    const std::string where = "piece " + std::to_string(model_.pieces++);
    ProtobufMessage message(file_, where, bytes);
    Piece piece;
    for (ProtobufField field; message.next(field);) {
      if (field.number == 1) piece.text = message.text(field, "piece");
      if (field.number == 2) piece.score = message.number(field, "score");
      if (field.number == 3) piece.type = message.varint(field, "type");
    }
    const auto require = [&](bool condition, const std::string& rule) {
      if (!condition) message.fail(rule);
    };
    require(!piece.text.empty(), "the piece is empty.");
    require(piece.text.size() <= kMaxPiece, "the piece is longer than 4096 bytes.");
    require(first_invalid_utf8(piece.text) == std::string_view::npos, "the piece is not UTF-8.");
    require(std::isfinite(piece.score), "the score must be finite.");
    require(piece.type >= normal && piece.type <= byte,
            "the type must be 1 to 6. Got " + std::to_string(piece.type) + ".");
    const std::string quoted = "\"" + std::string(piece.text) + "\"";

    // libsentencepiece keeps these two kinds apart, so the same text may occur once in each.
    const bool matched = piece.type == normal || piece.type == user_defined || piece.type == unused;
    require((matched ? matched_ : reserved_).insert(piece.text).second,
            quoted + " is already defined.");
    if (piece.type == unknown) {
      require(!has_unknown_, "there is more than one unknown piece.");
      has_unknown_ = true;
      unknown_ = piece.text;
    }
    if (piece.type == byte) {
      const int value = byte_value(piece.text);
      require(value >= 0, "a byte piece must have the form <0xNN>. Got " + quoted + ".");
      bytes_.set(value);
    }
    if (piece.type == user_defined) user_defined_.push_back(piece.text);
    if (matched && has_inner_space(piece.text)) has_inner_space_ = true;
    // A matching trie is built from C strings, so a NUL there would cut the piece (or throw).
    if (matched && !with_nul_ && piece.text.find('\0') != std::string_view::npos) {
      with_nul_ = where;
      require(piece.type != user_defined, "a user-defined piece must not hold a NUL.");
    }
  }

  void read_trainer(std::string_view bytes) {
    has_trainer_ = true;
    ProtobufMessage message(file_, "trainer_spec", bytes);
    for (ProtobufField field; message.next(field);) {
      if (field.number == 3) {
        model_type_ = message.varint(field, "model_type");
        if (model_type_ < unigram || model_type_ > character)
          message.fail("model_type must be 1 to 4. Got " + std::to_string(model_type_) + ".");
      } else if (field.number == 24) {
        space_behind_ = message.varint(field, "treat_whitespace_as_suffix") != 0;
      } else if (field.number == 35) {
        byte_fallback_ = message.varint(field, "byte_fallback") != 0;
      } else if (field.number >= 40 && field.number <= 43) {
        constexpr const char* names[] = {"unk_id", "bos_id", "eos_id", "pad_id"};
        const char* name = names[field.number - 40];
        ids_[field.number - 40] = {name, static_cast<int32_t>(message.varint(field, name))};
      }
    }
  }

  void read_normalizer(std::string_view bytes, const std::string& where) {
    const bool encoding = where == "normalizer_spec";
    if (encoding) has_normalizer_ = true;
    ProtobufMessage message(file_, where, bytes);
    for (ProtobufField field; message.next(field);) {
      if (field.number == 2) {
        const auto blob = message.text(field, "precompiled_charsmap");
        const int64_t expansion = blob.empty() ? 0 : check_charsmap(file_, where, blob);
        model_.expansion = std::max(model_.expansion, expansion);
        if (encoding && !blob.empty()) has_charsmap_ = true;
      }
      if (field.number == 3 && encoding)
        model_.add_dummy_prefix = message.varint(field, "add_dummy_prefix") != 0;
      if (field.number == 4 && encoding)
        removes_spaces_ = message.varint(field, "remove_extra_whitespaces") != 0;
      if (field.number == 5 && encoding)
        escapes_spaces_ = message.varint(field, "escape_whitespaces") != 0;
    }
  }

  void finish(const ProtobufMessage& message) {
    const auto require = [&](bool condition, const std::string& rule) {
      if (!condition) message.fail(rule);
    };
    require(model_.pieces > 0, "there are no pieces.");
    // Without them libsentencepiece falls back to defaults that change the ids without a word.
    require(has_trainer_ && has_normalizer_,
            "trainer_spec or normalizer_spec is missing; the file is cut short or incomplete.");
    require(has_unknown_, "there is no unknown piece.");
    if (byte_fallback_) {
      require(bytes_.all(), "byte_fallback needs all 256 byte pieces. Got " +
                                std::to_string(bytes_.count()) + ".");
    } else {
      require(bytes_.none(), "there are byte pieces although byte_fallback is off.");
    }
    require(!with_nul_ || model_type_ != unigram,
            with_nul_.value_or("") + " holds a NUL, which a unigram model cannot match.");
    for (const auto& [name, id] : ids_) {
      require(id >= -1 && id < model_.pieces,
              std::string("trainer_spec.") + name + " must be -1 or a piece. Got " +
                  std::to_string(id) + " of " + std::to_string(model_.pieces) + ".");
    }
    check_nesting(message);
    model_.separable = separable();
  }

  // What makes the library's ids of a text those of its parts, for any text.
  bool separable() const {
    // The normaliser works character by character, and a part's dummy space is the one cut away.
    const bool plain = !has_charsmap_ && escapes_spaces_ && !space_behind_ &&
                       (model_.add_dummy_prefix || !removes_spaces_);
    // Spaces inside a user-defined piece escape removal; elsewhere none is left for it to match.
    const bool spaces = std::any_of(user_defined_.begin(), user_defined_.end(), [](auto piece) {
      return piece.find(' ') != std::string_view::npos;
    });
    // Merges stay on their side of a cut. A unigram path does not: the rounding of its running sum
    // depends on all the text before.
    const bool local = model_type_ == bpe && !has_inner_space_;
    // Adjacent unknown pieces become one, so a part must not begin with one.
    const bool known = matched_.count(kSpace) && unknown_.find(kSpace) == std::string_view::npos;
    return plain && !spaces && local && known;
  }

  // No text may match more user-defined pieces at one place than the library has room for.
  void check_nesting(const ProtobufMessage& message) {
    std::sort(user_defined_.begin(), user_defined_.end());
    std::vector<std::string_view> prefixes;
    for (const auto& piece : user_defined_) {
      while (!prefixes.empty() && !piece.starts_with(prefixes.back())) prefixes.pop_back();
      prefixes.push_back(piece);
      if (prefixes.size() > kMaxNested)
        message.fail("more than 64 user-defined pieces begin one another.");
    }
  }

  struct SpecialId {
    const char* name = "";
    int64_t id = -1;
  };

  const std::string& file_;
  SentencePieceModel model_;
  std::unordered_set<std::string_view> matched_, reserved_;
  std::vector<std::string_view> user_defined_;
  std::bitset<256> bytes_;
  std::optional<std::string> with_nul_;
  SpecialId ids_[4];
  uint64_t model_type_ = unigram;
  bool byte_fallback_ = false;
  bool has_unknown_ = false, has_trainer_ = false, has_normalizer_ = false;
  std::string_view unknown_;
  bool has_inner_space_ = false, has_charsmap_ = false;
  bool space_behind_ = false, removes_spaces_ = true, escapes_spaces_ = true;  // as in the .proto
};

// Files that often stand where a SentencePiece model should, told apart by how they begin.
std::string other_kind(std::string_view bytes) {
  if (bytes.empty()) return "the file is empty.";
  if (const auto known = download_artefact(bytes.substr(0, kArtefactBytes)); !known.empty())
    return known;
  if (bytes.starts_with("{")) return "this is JSON, not a SentencePiece model.";
  const auto line = bytes.substr(0, bytes.find('\n'));
  const auto space = line.find(' ');
  const auto only = [](std::string_view text, std::string_view extra, bool letters) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
      return (c >= '0' && c <= '9') || extra.find(c) != std::string_view::npos ||
             (letters && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')));
    });
  };
  if (space != std::string_view::npos && only(line.substr(0, space), "+/=", true) &&
      only(line.substr(space + 1), "\r", false)) {
    return "this is a tiktoken vocabulary (as of Llama 3), not a SentencePiece model; C++ reads "
           "SentencePiece only. From Python any Hugging Face tokenizer can be passed.";
  }
  return "";
}

}  // namespace

SentencePieceModel check_sentencepiece(const std::string& file, std::string_view bytes) {
  if (const std::string rule = other_kind(bytes); !rule.empty()) throw FormatError(file, "", rule);
  return Checker(file).check(bytes);
}

}  // namespace cupel
