#include "cupel/eval/text_figures.h"

#include <set>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/rouge.h"
#include "eval/ngrams.h"

namespace cupel {

namespace {

std::optional<double> distinct(const std::vector<std::string>& words, int64_t n) {
  check(n >= 1, "distinct_ngrams", "n is at least 1. Got ", n, ".");
  const auto all = static_cast<int64_t>(words.size()) - n + 1;
  if (all < 1) return {};
  const auto different = count_ngrams(words, static_cast<std::size_t>(n)).size();
  return static_cast<double>(different) / static_cast<double>(all);
}

std::optional<double> other_share(std::optional<double> share) {
  if (share) share = 1 - *share;
  return share;
}

}  // namespace

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool within = false;
  for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
    const bool space = is_white_space(code_point(text, at, length));
    if (!space && !within) words.emplace_back();
    if (!space) words.back().append(text.substr(at, length));
    within = !space;
  }
  return words;
}

std::optional<double> distinct_ngrams(std::string_view text, int64_t n) {
  return distinct(split_words(text), n);
}

std::optional<double> repeated_ngrams(std::string_view text, int64_t n) {
  return other_share(distinct_ngrams(text, n));
}

std::optional<double> novel_ngrams(std::string_view text, std::string_view source, int64_t n) {
  check(n >= 1, "novel_ngrams", "n is at least 1. Got ", n, ".");
  const auto size = static_cast<std::size_t>(n);
  const auto made = count_ngrams(rouge_words(text), size);
  if (made.empty()) return {};
  const auto known = count_ngrams(rouge_words(source), size);
  int64_t novel = 0;
  for (const auto& ngram : made) novel += known.count(ngram.first) == 0;
  return static_cast<double>(novel) / static_cast<double>(made.size());
}

TextFigures text_figures(std::string_view text) {
  const auto words = split_words(text);
  return {static_cast<int64_t>(words.size()),
          static_cast<int64_t>(std::set<std::string>(words.begin(), words.end()).size()),
          distinct(words, 2), other_share(distinct(words, 4))};
}

}  // namespace cupel
