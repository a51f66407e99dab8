#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cupel {

/// What a checked SentencePiece .model file holds.
struct SentencePieceModel {
  std::string bytes;  ///< for libsentencepiece: no self-test, no unknown fields
  int64_t pieces = 0;
  bool add_dummy_prefix = true;  ///< a space is put in front of a text
  int64_t expansion = 3;         ///< normalised bytes per byte of text, at most
  /// Whether the ids on either side of a space behind another character depend on that side alone,
  /// so that text_parts() may cut there.
  bool separable = false;
};

/// Checks the bytes of the .model file `file` field by field. libsentencepiece trusts much of what
/// it reads (trie offsets, numbers of matches, NULs in pieces), so this comes first. FormatError
/// names the place and the rule.
SentencePieceModel check_sentencepiece(const std::string& file, std::string_view bytes);

/// Checks a NormalizerSpec.precompiled_charsmap (uint32 size, Darts double array, replacements
/// ended by NUL): no look-up may leave it, whatever the text. Returns the most normalised bytes
/// that one rule yields.
int64_t check_charsmap(const std::string& file, const std::string& where, std::string_view blob);

}  // namespace cupel
