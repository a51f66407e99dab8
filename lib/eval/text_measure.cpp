#include "eval/text_measure.h"

#include <algorithm>
#include <iterator>

#include "cupel/core/check.h"
#include "cupel/eval/scorer.h"

namespace cupel {

namespace {

// Where each character of UTF-8 begins, and the end.
std::vector<std::size_t> character_offsets(const std::string& text) {
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) >> 6) != 2) offsets.push_back(i);
  }
  offsets.push_back(text.size());
  return offsets;
}

// The largest number of characters, up to `most`, whose piece is short enough.
template <typename Piece>
std::string longest(const TextMeasure& measure, std::size_t most, int64_t tokens,
                    const Piece& piece) {
  check(static_cast<bool>(measure.count), "TextMeasure",
        "the scorer must be able to count tokens; this one overrides no measure().");
  check(tokens >= 0, "TextMeasure", "tokens is at least 0. Got ", tokens, ".");
  if (measure.count(piece(most)) <= tokens) return piece(most);
  std::size_t fits = 0, over = most;
  // A token stands for a few characters: looking nearby first saves encoding a long text whole.
  for (std::size_t near = static_cast<std::size_t>(tokens) + 1; near < over; near *= 2) {
    if (measure.count(piece(near)) > tokens) {
      over = near;
    } else {
      fits = near;
    }
  }
  while (fits + 1 < over) {
    const std::size_t middle = fits + (over - fits) / 2;
    (measure.count(piece(middle)) <= tokens ? fits : over) = middle;
  }
  return piece(fits);
}

}  // namespace

std::string TextMeasure::head(const std::string& text, int64_t tokens) const {
  const auto offsets = character_offsets(text);
  return longest(*this, offsets.size() - 1, tokens,
                 [&](std::size_t n) { return text.substr(0, offsets[n]); });
}

std::string TextMeasure::tail(const std::string& text, int64_t tokens) const {
  const auto offsets = character_offsets(text);
  return longest(*this, offsets.size() - 1, tokens,
                 [&](std::size_t n) { return text.substr(offsets[offsets.size() - 1 - n]); });
}

double characters(const std::string& text) {
  return static_cast<double>(character_offsets(text).size() - 1);
}

std::string text_after(const Tokenizer& tokenizer, const int64_t* before, std::size_t size,
                       const std::vector<int64_t>& given) {
  const int64_t vocabulary = tokenizer.vocabulary();
  std::vector<int64_t> ids;
  std::copy_if(given.begin(), given.end(), std::back_inserter(ids),
               [&](int64_t id) { return id < vocabulary; });
  const std::size_t end = std::min<std::size_t>(size, 8);
  std::vector<int64_t> all(before + size - end, before + size);
  const std::string known = tokenizer.decode(all);
  all.insert(all.end(), ids.begin(), ids.end());
  const std::string whole = tokenizer.decode(all);
  return whole.rfind(known, 0) == 0 ? whole.substr(known.size()) : tokenizer.decode(ids);
}

}  // namespace cupel
