// Porter's algorithm for stripping suffixes (Porter 1980), in NLTK's variant: irregular forms, -ies and
// -ied of four letters, -y after a consonant only, and -alli, -fulli, -logi in step 2.
//
// A word is [C](VC)^m[V] with C and V runs of consonants and vowels; m is its measure. A rule takes the
// place of the word's end when what stands before it, the stem, meets a condition. In a list the first
// rule whose ending fits decides, whether its condition holds or not.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "cupel/eval/rouge.h"

namespace cupel {

namespace {

bool ends(const std::string& word, std::string_view suffix) {
  return word.size() >= suffix.size() &&
         std::string_view(word).substr(word.size() - suffix.size()) == suffix;
}

// Whether each letter is a consonant; a y is one at the beginning and after a vowel.
std::string shape(std::string_view word) {
  std::string made;
  for (const char c : word) {
    const bool vowel = c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' ||
                       (c == 'y' && !made.empty() && made.back() == 'c');
    made += vowel ? 'v' : 'c';
  }
  return made;
}

int measure(std::string_view stem) {
  const std::string letters = shape(stem);
  int m = 0;
  for (std::size_t i = 1; i < letters.size(); ++i) m += letters[i - 1] == 'v' && letters[i] == 'c';
  return m;
}

bool has_vowel(std::string_view stem) { return shape(stem).find('v') != std::string::npos; }

bool ends_double_consonant(const std::string& word) {
  return word.size() >= 2 && word[word.size() - 1] == word[word.size() - 2] &&
         shape(word).back() == 'c';
}

// Consonant, vowel, consonant, the last not w, x or y ("hop"); in NLTK also a word of vowel and
// consonant ("is").
bool ends_cvc(const std::string& word) {
  const std::string letters = shape(word);
  if (letters == "vc") return true;
  const char last = word.empty() ? 'w' : word.back();
  return ends(letters, "cvc") && last != 'w' && last != 'x' && last != 'y';
}

struct Rule {
  const char *suffix, *replacement;
  int above = -1;  ///< the stem's measure must be above it
};

template <std::size_t count>
std::string replace_ending(const std::string& word, const std::array<Rule, count>& rules) {
  for (const auto& rule : rules) {
    if (!ends(word, rule.suffix)) continue;
    const std::string stem = word.substr(0, word.size() - std::string_view(rule.suffix).size());
    return measure(stem) > rule.above ? stem + rule.replacement : word;
  }
  return word;
}

std::string step_1a(const std::string& word) {
  if (ends(word, "ies") && word.size() == 4) return word.substr(0, 3);
  return replace_ending(
      word, std::array<Rule, 4>{{{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}}});
}

std::string step_1b(const std::string& word) {
  if (ends(word, "ied")) return word.substr(0, word.size() - (word.size() == 4 ? 1 : 2));
  if (ends(word, "eed")) return replace_ending(word, std::array<Rule, 1>{{{"eed", "ee", 0}}});
  std::string stem;
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (!ends(word, suffix)) continue;
    stem = word.substr(0, word.size() - suffix.size());
    if (has_vowel(stem)) break;
    stem.clear();
  }
  if (stem.empty()) return word;
  if (ends(stem, "at") || ends(stem, "bl") || ends(stem, "iz")) return stem + "e";
  if (ends_double_consonant(stem)) {
    const char last = stem.back();
    return last == 'l' || last == 's' || last == 'z' ? stem : stem.substr(0, stem.size() - 1);
  }
  return measure(stem) == 1 && ends_cvc(stem) ? stem + "e" : stem;
}

std::string step_1c(const std::string& word) {
  if (!ends(word, "y")) return word;
  const std::string stem = word.substr(0, word.size() - 1);
  return stem.size() > 1 && shape(stem).back() == 'c' ? stem + "i" : word;
}

std::string step_2(const std::string& word) {
  if (ends(word, "alli") && measure(word.substr(0, word.size() - 4)) > 0) {
    return step_2(word.substr(0, word.size() - 2));
  }
  // The l of -logi counts as the stem's, so that "geologi" with its short stem loses the ending.
  if (ends(word, "logi")) {
    const std::string stem = word.substr(0, word.size() - 1);
    return measure(word.substr(0, word.size() - 3)) > 0 ? stem : word;
  }
  return replace_ending(
      word,
      std::array<Rule, 21>{{{"ational", "ate", 0}, {"tional", "tion", 0}, {"enci", "ence", 0},
                            {"anci", "ance", 0},   {"izer", "ize", 0},    {"bli", "ble", 0},
                            {"alli", "al", 0},     {"entli", "ent", 0},   {"eli", "e", 0},
                            {"ousli", "ous", 0},   {"ization", "ize", 0}, {"ation", "ate", 0},
                            {"ator", "ate", 0},    {"alism", "al", 0},    {"iveness", "ive", 0},
                            {"fulness", "ful", 0}, {"ousness", "ous", 0}, {"aliti", "al", 0},
                            {"iviti", "ive", 0},   {"biliti", "ble", 0},  {"fulli", "ful", 0}}});
}

std::string step_3(const std::string& word) {
  return replace_ending(word, std::array<Rule, 7>{{{"icate", "ic", 0},
                                                   {"ative", "", 0},
                                                   {"alize", "al", 0},
                                                   {"iciti", "ic", 0},
                                                   {"ical", "ic", 0},
                                                   {"ful", "", 0},
                                                   {"ness", "", 0}}});
}

std::string step_4(const std::string& word) {
  // "ion" goes after s or t only; no other ending of the list ends in it.
  if (ends(word, "ion")) {
    const std::string stem = word.substr(0, word.size() - 3);
    return measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't') ? stem : word;
  }
  return replace_ending(word, std::array<Rule, 18>{{{"al", "", 1},
                                                    {"ance", "", 1},
                                                    {"ence", "", 1},
                                                    {"er", "", 1},
                                                    {"ic", "", 1},
                                                    {"able", "", 1},
                                                    {"ible", "", 1},
                                                    {"ant", "", 1},
                                                    {"ement", "", 1},
                                                    {"ment", "", 1},
                                                    {"ent", "", 1},
                                                    {"ou", "", 1},
                                                    {"ism", "", 1},
                                                    {"ate", "", 1},
                                                    {"iti", "", 1},
                                                    {"ous", "", 1},
                                                    {"ive", "", 1},
                                                    {"ize", "", 1}}});
}

std::string step_5(std::string word) {
  if (ends(word, "e")) {
    const std::string stem = word.substr(0, word.size() - 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) word = stem;
  }
  if (ends(word, "ll") && measure(word.substr(0, word.size() - 1)) > 1) word.pop_back();
  return word;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kIrregular{
    {{"sky", "sky"},
     {"skies", "sky"},
     {"dying", "die"},
     {"lying", "lie"},
     {"tying", "tie"},
     {"news", "news"},
     {"innings", "inning"},
     {"inning", "inning"},
     {"outings", "outing"},
     {"outing", "outing"},
     {"cannings", "canning"},
     {"canning", "canning"},
     {"howe", "howe"},
     {"proceed", "proceed"},
     {"exceed", "exceed"},
     {"succeed", "succeed"}}};

}  // namespace

std::string porter_stem(std::string word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) return std::string(stem);
  }
  if (word.size() <= 2) return word;
  return step_5(step_4(step_3(step_2(step_1c(step_1b(step_1a(word)))))));
}

}  // namespace cupel
