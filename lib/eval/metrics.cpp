#include "cupel/eval/metrics.h"

#include <algorithm>
#include <map>

#include "cupel/core/unicode.h"

namespace cupel {

namespace {

// Python's string.punctuation, and the four quotes that TriviaQA's evaluation adds.
bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  return c == 0xB4 || c == 0x2018 || c == 0x2019;
}

bool is_article(std::string_view word) { return word == "a" || word == "an" || word == "the"; }

// Maximal runs of word characters are what \b stands between; everything else is copied.
std::string without_articles(std::string_view text) {
  std::string kept;
  for (std::size_t at = 0, length = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && is_word_character(code_point(text, end, length))) end += length;
    if (end == at) {
      code_point(text, at, length);
      end = at + length;
    }
    const std::string_view piece = text.substr(at, end - at);
    kept += is_article(piece) ? " " : piece;
    at = end;
  }
  return kept;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found(1);
  for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
    if (!is_white_space(code_point(text, at, length))) {
      found.back() += text.substr(at, length);
    } else if (!found.back().empty()) {
      found.emplace_back();
    }
  }
  if (found.back().empty()) found.pop_back();
  return found;
}

bool is_part(const std::string& part, const std::string& whole) {
  return whole.find(part) != std::string::npos;
}

template <typename Rule>
bool any(const std::vector<std::string>& gold, const Rule& rule) {
  return std::any_of(gold.begin(), gold.end(), rule);
}

double f1(const std::vector<std::string>& prediction, const std::vector<std::string>& gold) {
  std::map<std::string, int64_t> left;
  for (const auto& word : gold) ++left[word];
  double same = 0;
  for (const auto& word : prediction) same += left[word]-- > 0 ? 1 : 0;
  if (same == 0) return 0;
  const double precision = same / static_cast<double>(prediction.size()),
               recall = same / static_cast<double>(gold.size());
  return 2 * precision * recall / (precision + recall);
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  std::string plain(text);
  std::replace(plain.begin(), plain.end(), '_', ' ');
  plain = lower_case(plain);
  std::string spaced;
  for (std::size_t at = 0, length = 0; at < plain.size(); at += length) {
    const bool mark = is_punctuation(code_point(plain, at, length));
    spaced += mark ? " " : std::string_view(plain).substr(at, length);
  }
  std::string joined;
  for (const auto& word : words(without_articles(spaced))) {
    joined += (joined.empty() ? "" : " ") + word;
  }
  return joined;
}

double token_f1(std::string_view prediction, const std::vector<std::string>& gold) {
  const auto written = words(normalize_answer(prediction));
  double best = 0;
  for (const auto& answer : gold) {
    best = std::max(best, f1(written, words(normalize_answer(answer))));
  }
  return best;
}

bool exact_match(std::string_view prediction, const std::vector<std::string>& gold) {
  const std::string written = normalize_answer(prediction);
  return any(gold, [&](const std::string& answer) { return normalize_answer(answer) == written; });
}

bool normalized_equal(std::string_view prediction, const std::vector<std::string>& gold) {
  return !normalize_answer(prediction).empty() && exact_match(prediction, gold);
}

bool contains_answer(std::string_view text, const std::vector<std::string>& gold) {
  const std::string written = " " + normalize_answer(text) + " ";
  return any(gold, [&](const std::string& answer) {
    const std::string part = normalize_answer(answer);
    return !part.empty() && is_part(" " + part + " ", written);
  });
}

bool two_way_substring(std::string_view prediction, const std::vector<std::string>& gold) {
  const std::string written = normalize_answer(prediction);
  return any(gold, [&](const std::string& answer) {
    const std::string wanted = normalize_answer(answer);
    return is_part(wanted, written) || is_part(written, wanted);
  });
}

std::string kick_normalize(std::string_view text) {
  std::string plain(strip_white_space(text));
  plain.erase(std::remove(plain.begin(), plain.end(), ' '), plain.end());
  return lower_case(plain);
}

bool kick_substring(std::string_view output, const std::vector<std::string>& gold) {
  const std::string written = kick_normalize(output);
  return any(gold,
             [&](const std::string& answer) { return is_part(kick_normalize(answer), written); });
}

}  // namespace cupel
