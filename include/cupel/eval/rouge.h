#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cupel {

/// One ROUGE score, each number in [0, 1].
struct RougeScore {
  double precision = 0, recall = 0, f1 = 0;
};

/// ROUGE of one text (Lin, 2004), number for number those of the Python package rouge_score 0.1.2.
struct Rouge {
  RougeScore rouge1, rouge2;  ///< n-grams in common, each counted as often as both have it
  RougeScore rougeL;          ///< longest common subsequence of the whole texts
  /// The same between lines, for each line of the reference the union over all lines of the text.
  RougeScore rougeLsum;
};

/// ROUGE of `text` against a reference. Words are runs of a-z and 0-9 once ASCII letters are small:
/// other scripts have none and score 0. With `stem`, words of more than 3 characters are stemmed.
Rouge rouge(std::string_view reference, std::string_view text, bool stem = false);

/// Each score against the reference that gives it the largest F1 (ties: the first);
/// std::invalid_argument without references.
Rouge rouge(const std::vector<std::string>& references, std::string_view text, bool stem = false);

/// The words that ROUGE counts.
std::vector<std::string> rouge_words(std::string_view text, bool stem = false);

/// Porter's stem of a word in small letters, in the variant of NLTK's PorterStemmer, which
/// rouge_score uses (Porter 1980, with the later extensions).
std::string porter_stem(std::string word);

}  // namespace cupel
