#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace cupel {

/// Each run of n words of a text, and how often it stands there.
template <typename Word>
std::map<std::vector<Word>, int64_t> count_ngrams(const std::vector<Word>& words, std::size_t n) {
  std::map<std::vector<Word>, int64_t> counts;
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    ++counts[std::vector<Word>(words.begin() + static_cast<std::ptrdiff_t>(i),
                               words.begin() + static_cast<std::ptrdiff_t>(i + n))];
  }
  return counts;
}

}  // namespace cupel
