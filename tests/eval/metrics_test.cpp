#include "cupel/eval/metrics.h"

#include "support/catch.h"
#include <string>
#include <vector>

using namespace cupel;

namespace {

using Gold = std::vector<std::string>;

}  // namespace

TEST_CASE("normalize_answer: TriviaQA's rules") {
  const auto same = [](const std::string& given, const std::string& wanted) {
    INFO(given);
    CHECK(normalize_answer(given) == wanted);
  };
  same("", "");
  same("  The  ", "");
  same("...", "");
  same("A Tale_of Two-Cities", "tale of two cities");
  same("Ben\tHur\n(film)", "ben hur film");
  same("O‘Neill’s `x´", "o neill s x");
  same("“Ben”", "“ben”");  // these quotes are none of the four
  same("1,000.5", "1 000 5");
  same("U.S.A.", "u s");  // the last letter is an article by itself
  same("Anna a theatre, an", "anna theatre");
  same("a\u00e9 an\u0301",
       "a\u00e9 \u0301");  // an accent of its own ends a word, a letter does not
  same("ΑΣ ΣΑΣ.", "ας σας");
  same("İzmir", "i\u0307zmir");
  same("x\u00a0\u3000the\u2003y", "x y");
}

TEST_CASE("token_f1: words as bags, the best over gold answers") {
  CHECK(token_f1("David Seville", {"david seville"}) == 1);
  CHECK(token_f1("It was David Seville", {"david seville"}) == Approx(2 * 0.5 / 1.5));
  CHECK(token_f1("x x x y", {"x x z"}) == Approx(2.0 * 2 / 7));
  CHECK(token_f1("x", {"nothing", "x y", "x"}) == 1);
  CHECK(token_f1("", {"x"}) == 0);
  CHECK(token_f1("the", {"the"}) == 0);  // nothing is left of either
  CHECK(token_f1("x", {}) == 0);
}

TEST_CASE("exact_match, normalized_equal, contains_answer: what each of them takes for right") {
  const auto rules = [](const std::string& text, const Gold& gold) {
    return std::string(exact_match(text, gold) ? "e" : "-") +
           (normalized_equal(text, gold) ? "n" : "-") + (contains_answer(text, gold) ? "c" : "-") +
           (two_way_substring(text, gold) ? "k" : "-");
  };
  CHECK(rules("The Iran!", {"Iraq", "iran"}) == "enck");
  CHECK(rules("Tirana", {"iran"}) == "---k");
  CHECK(rules("in Iran, I think", {"iran"}) == "--ck");
  CHECK(rules("ira", {"iran"}) == "---k");
  CHECK(rules("", {"iran"}) == "---k");
  CHECK(rules("...", {"iran"}) == "---k");
  CHECK(rules("", {"The"}) == "e--k");
  CHECK(rules("iran", {"The"}) == "---k");
  CHECK(rules("iran", {}) == "----");
  CHECK(rules("", {}) == "----");
}

TEST_CASE("kick_substring: spaces and case aside, an empty gold answer is everywhere") {
  CHECK(kick_normalize(" \tNew  York\u00a0") == "newyork");
  CHECK(kick_normalize("a\tB c") == "a\tbc");
  CHECK(kick_substring("golden eye", {"GoldenEye"}));
  CHECK(kick_substring("Who won in 1966? England", {"1"}));
  CHECK_FALSE(kick_substring("a b", {"a\tb"}));
  CHECK(kick_substring("anything", {""}));
  CHECK_FALSE(kick_substring("anything", {}));
}
