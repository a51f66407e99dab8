#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "cupel/text/tokenizer.h"

namespace cupel::test {

/// A tokenizer over a list of pieces: the longest piece that fits comes next. Ids 0 and 1 are BOS
/// and EOS, piece i has id 2 + i. A long piece can span the join of two texts, as real ones do.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces, bool add_bos = true, bool has_bos = true)
      : pieces_(std::move(pieces)), add_bos_(add_bos), has_bos_(has_bos) {}

  std::vector<int64_t> encode(const std::string& text, bool special_tokens = true) const override {
    std::vector<int64_t> ids;
    if (special_tokens && add_bos_) ids.push_back(0);
    for (std::size_t at = 0; at < text.size();) {
      std::size_t best = pieces_.size(), length = 0;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const std::string& piece = pieces_[i];
        if (piece.size() > length && text.compare(at, piece.size(), piece) == 0) {
          best = i;
          length = piece.size();
        }
      }
      if (length == 0) throw std::invalid_argument("FakeTokenizer lacks '" + text.substr(at) + "'");
      ids.push_back(2 + static_cast<int64_t>(best));
      at += length;
    }
    return ids;
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    for (const int64_t id : ids) text += id >= 2 ? pieces_.at(id - 2) : "";
    return text;
  }

  int64_t vocabulary() const override { return 2 + static_cast<int64_t>(pieces_.size()); }
  int64_t bos() const override { return has_bos_ ? 0 : -1; }
  int64_t eos() const override { return 1; }
  std::string fingerprint() const override { return "fake-" + std::to_string(pieces_.size()); }

 private:
  std::vector<std::string> pieces_;
  bool add_bos_, has_bos_;
};

/// Single characters a to z and a space, and a few longer pieces: 32 ids.
inline FakeTokenizer letters(bool add_bos = true, bool has_bos = true) {
  std::vector<std::string> pieces{" "};
  for (char c = 'a'; c <= 'z'; ++c) pieces.emplace_back(1, c);
  for (const char* longer : {"ab", "the", " a"}) pieces.emplace_back(longer);
  return FakeTokenizer(pieces, add_bos, has_bos);
}

}  // namespace cupel::test
