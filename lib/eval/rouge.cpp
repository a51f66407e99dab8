#include "cupel/eval/rouge.h"

#include <algorithm>
#include <map>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "eval/ngrams.h"

namespace cupel {

namespace {

using Words = std::vector<int64_t>;  // numbers of words

RougeScore score(double hits, double reference, double text) {
  RougeScore made;
  made.precision = hits / std::max(text, 1.0);
  made.recall = hits / std::max(reference, 1.0);
  const double sum = made.precision + made.recall;
  made.f1 = sum > 0 ? 2 * made.precision * made.recall / sum : 0;
  return made;
}

RougeScore common_ngrams(const Words& reference, const Words& text, std::size_t n) {
  const auto wanted = count_ngrams(reference, n), made = count_ngrams(text, n);
  int64_t hits = 0, all_wanted = 0, all_made = 0;
  for (const auto& [ngram, times] : wanted) {
    const auto found = made.find(ngram);
    if (found != made.end()) hits += std::min(times, found->second);
    all_wanted += times;
  }
  for (const auto& [ngram, times] : made) all_made += times;
  return score(static_cast<double>(hits), static_cast<double>(all_wanted),
               static_cast<double>(all_made));
}

// Lengths of the longest common subsequences of all beginnings, [reference + 1, text + 1].
std::vector<int32_t> lcs_table(const Words& reference, const Words& text) {
  const std::size_t row = text.size() + 1;
  std::vector<int32_t> table((reference.size() + 1) * row, 0);
  for (std::size_t i = 1; i <= reference.size(); ++i) {
    for (std::size_t j = 1; j <= text.size(); ++j) {
      table[i * row + j] = reference[i - 1] == text[j - 1]
                               ? table[(i - 1) * row + j - 1] + 1
                               : std::max(table[(i - 1) * row + j], table[i * row + j - 1]);
    }
  }
  return table;
}

RougeScore whole_lcs(const Words& reference, const Words& text) {
  return score(lcs_table(reference, text).back(), static_cast<double>(reference.size()),
               static_cast<double>(text.size()));
}

// Marks the words of `reference` that one longest common subsequence with `text` has; of several
// it is the one that rouge_score finds.
void mark_lcs(const Words& reference, const Words& text, std::vector<char>& marks) {
  const auto table = lcs_table(reference, text);
  const std::size_t row = text.size() + 1;
  std::size_t i = reference.size(), j = text.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == text[j - 1]) {
      marks[i - 1] = 1;
      --i;
      --j;
    } else if (table[i * row + j - 1] > table[(i - 1) * row + j]) {
      --j;
    } else {
      --i;
    }
  }
}

RougeScore lines_lcs(const std::vector<Words>& reference, const std::vector<Words>& text) {
  std::map<int64_t, int64_t> left_reference,
      left_text;  // each word counts as often as both have it
  double all_reference = 0, all_text = 0;
  for (const auto& line : reference) {
    for (const int64_t word : line) ++left_reference[word], ++all_reference;
  }
  for (const auto& line : text) {
    for (const int64_t word : line) ++left_text[word], ++all_text;
  }
  double hits = 0;
  for (const auto& line : reference) {
    std::vector<char> marks(line.size(), 0);
    for (const auto& other : text) mark_lcs(line, other, marks);
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (!marks[i] || left_text[line[i]] <= 0 || left_reference[line[i]] <= 0) continue;
      ++hits;
      --left_text[line[i]];
      --left_reference[line[i]];
    }
  }
  return score(hits, all_reference, all_text);
}

// Words as numbers, the same for the same word in every text of one call.
class Numbers {
 public:
  explicit Numbers(bool stem) : stem_(stem) {}

  Words of(std::string_view text) {
    Words made;
    for (const auto& word : rouge_words(text, stem_)) {
      made.push_back(numbers_.emplace(word, static_cast<int64_t>(numbers_.size())).first->second);
    }
    return made;
  }

  std::vector<Words> of_lines(std::string_view text) {
    std::vector<Words> made;
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      made.push_back(of(text.substr(begin, end - begin)));
      begin = end + 1;
    }
    return made;
  }

 private:
  bool stem_;
  std::map<std::string, int64_t> numbers_;
};

}  // namespace

std::vector<std::string> rouge_words(std::string_view text, bool stem) {
  std::vector<std::string> words;
  std::string word;
  const auto end = [&] {
    if (!word.empty()) words.push_back(stem && word.size() > 3 ? porter_stem(word) : word);
    word.clear();
  };
  for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
    const char32_t c = code_point(text, at, length);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += static_cast<char>(c);
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (c == 0x212A) {  // the Kelvin sign: with the next the only others whose small letter
      word += 'k';             // is one of ASCII
    } else if (c == 0x130) {   // I with a dot, whose small letter is an i and a loose dot
      word += 'i';
      end();
    } else {
      end();
    }
  }
  end();
  return words;
}

Rouge rouge(std::string_view reference, std::string_view text, bool stem) {
  Numbers numbers(stem);
  const Words wanted = numbers.of(reference), made = numbers.of(text);
  return {common_ngrams(wanted, made, 1), common_ngrams(wanted, made, 2), whole_lcs(wanted, made),
          lines_lcs(numbers.of_lines(reference), numbers.of_lines(text))};
}

Rouge rouge(const std::vector<std::string>& references, std::string_view text, bool stem) {
  check(!references.empty(), "rouge", "there must be a reference.");
  Rouge best = rouge(references.front(), text, stem);
  for (std::size_t i = 1; i < references.size(); ++i) {
    const Rouge other = rouge(references[i], text, stem);
    for (RougeScore Rouge::* kind :
         {&Rouge::rouge1, &Rouge::rouge2, &Rouge::rougeL, &Rouge::rougeLsum}) {
      if ((other.*kind).f1 > (best.*kind).f1) best.*kind = other.*kind;
    }
  }
  return best;
}

}  // namespace cupel
