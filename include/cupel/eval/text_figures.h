#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cupel {

// Figures of a text that need no reference and no judge.

/// The words of a text: what stands between white space (Python's str.split()), as it is written.
std::vector<std::string> split_words(std::string_view text);

/// Different n-grams of words per n-gram, in (0, 1] ("distinct-n", Li et al. 2016). No value for a
/// text of less than n words. std::invalid_argument unless n >= 1.
std::optional<double> distinct_ngrams(std::string_view text, int64_t n);

/// Share of the n-grams of words that stood in the text before, in [0, 1): 1 - distinct_ngrams().
std::optional<double> repeated_ngrams(std::string_view text, int64_t n);

/// Share of the different n-grams of a text that its source lacks (See et al. 2017), in [0, 1]. Words
/// are those of rouge_words(), without stems, so that punctuation makes nothing new. No value for a
/// text of less than n words.
std::optional<double> novel_ngrams(std::string_view text, std::string_view source, int64_t n);

/// The same text in short.
struct TextFigures {
  int64_t words = 0, unique_words = 0;
  std::optional<double> distinct_2 = {},
                        repeated_4 = {};  ///< distinct_ngrams(2), repeated_ngrams(4)
};

TextFigures text_figures(std::string_view text);

}  // namespace cupel
