#pragma once

// Builds SentencePiece .model files byte by byte, good ones and bad ones.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace cupel::test {

inline std::string pb_number(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
inline std::string pb_varint(uint32_t field, uint64_t value) {
  return pb_number(uint64_t{field} << 3) + pb_number(value);
}
inline std::string pb_bytes(uint32_t field, const std::string& data) {
  return pb_number(uint64_t{field} << 3 | 2) + pb_number(data.size()) + data;
}
inline std::string little_endian(uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift);
  return out;
}
inline std::string pb_float(uint32_t field, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return pb_number(uint64_t{field} << 3 | 5) + little_endian(bits);
}

struct SpmPiece {
  std::string text;
  float score = 0;
  int type = 1;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
};

struct SpmModel {
  std::vector<SpmPiece> pieces;
  int model_type = 2;  // 1 unigram, 2 BPE, 3 word, 4 character
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  std::string charsmap;
  std::string trainer_extra, normalizer_extra, extra;  // fields as they stand

  std::string bytes() const {
    std::string out;
    for (const auto& piece : pieces) out += pb_bytes(1, piece_bytes(piece));
    out += pb_bytes(2, pb_varint(3, model_type) + pb_varint(4, pieces.size()) +
                           pb_varint(35, byte_fallback) + trainer_extra);
    std::string normalizer = pb_bytes(1, "identity");
    if (!charsmap.empty()) normalizer += pb_bytes(2, charsmap);
    normalizer += pb_varint(3, add_dummy_prefix) + pb_varint(4, 0) + normalizer_extra;
    return out + pb_bytes(3, normalizer) + extra;
  }

  static std::string piece_bytes(const SpmPiece& piece) {
    return pb_bytes(1, piece.text) + pb_float(2, piece.score) + pb_varint(3, piece.type);
  }
};

/// A BPE model of 16 pieces: <unk> <s> </s>, then 3 he, 4 ll, 5 ▁he, 6 llo, 7 ▁w, 8 ▁hello, 9 ▁,
/// 10 h, 11 e, 12 l, 13 o, 14 w, 15 a.
inline SpmModel tiny_spm() {
  const std::string s = "\xE2\x96\x81";
  SpmModel model;
  model.pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}};
  float score = 0;
  const std::vector<std::string> texts{"he", "ll", s + "he", "llo", s + "w", s + "hello", s,
                                       "h",  "e",  "l",      "o",   "w",     "a"};
  for (const auto& text : texts) model.pieces.push_back({text, score -= 1, 1});
  return model;
}

/// The same with the 256 byte pieces of byte fallback behind (ids 16 to 271).
inline SpmModel tiny_spm_with_bytes() {
  SpmModel model = tiny_spm();
  model.byte_fallback = true;
  for (int i = 0; i < 256; ++i) {
    constexpr const char* digits = "0123456789ABCDEF";
    model.pieces.push_back({std::string("<0x") + digits[i >> 4] + digits[i & 15] + ">", 0, 6});
  }
  return model;
}

/// Units of a normalisation trie (Darts double array): 512, the root's children from 256 on.
struct TrieBuilder {
  std::vector<uint32_t> units = std::vector<uint32_t>(512, 0x80000000u);  // a label no byte has
  std::string replacements;

  TrieBuilder() { units[0] = 256u << 10; }
  /// Rule `byte` -> `text`; `slot` in 256..511 holds the value and must be free.
  void add(unsigned char byte, const std::string& text, uint32_t slot) {
    const uint32_t child = 256u ^ byte;
    units[child] = (child ^ slot) << 10 | 1u << 8 | byte;
    units[slot] = 0x80000000u | static_cast<uint32_t>(replacements.size());
    replacements += text + '\0';
  }
  std::string blob() const {
    std::string out = little_endian(static_cast<uint32_t>(4 * units.size()));
    for (const uint32_t unit : units) out += little_endian(unit);
    return out + replacements;
  }
};

}  // namespace cupel::test
