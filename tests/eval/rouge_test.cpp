// By hand; the package rouge_score is compared with in tests/python/test_rouge.py.
#include "cupel/eval/rouge.h"

#include "support/catch.h"

#include "cupel/eval/text_figures.h"

using namespace cupel;

TEST_CASE("rouge: n-grams count as often as both texts have them") {
  const Rouge scores = rouge("the cat the cat sat", "the the the cat");
  CHECK(scores.rouge1.precision == 3.0 / 4);  // the, the, cat
  CHECK(scores.rouge1.recall == 3.0 / 5);
  CHECK(scores.rouge1.f1 == Approx(2.0 / 3));
  CHECK(scores.rouge2.precision == 1.0 / 3);  // the cat
  CHECK(scores.rouge2.recall == 1.0 / 4);
  CHECK(scores.rougeL.precision == 3.0 / 4);  // the the cat
}

TEST_CASE("rouge: lines are a union of subsequences, and order matters within them") {
  // Lin's example: "w1 w2 w3 w4 w5" has w1 w2 of one line and w1 w3 w5 of the other.
  const Rouge scores = rouge("a b c d e", "a b f g h\na c i j e");
  CHECK(scores.rougeLsum.recall == 4.0 / 5);
  CHECK(scores.rougeLsum.precision == 4.0 / 10);
  CHECK(scores.rougeL.recall == 4.0 / 5);  // a b c e of the text as a whole
  CHECK(rouge("a b", "b a").rougeL.recall == 0.5);
  CHECK(rouge("a b", "b a").rouge1.recall == 1);
}

TEST_CASE("rouge: the best reference counts for each score, and empty texts score 0") {
  const Rouge scores = rouge(std::vector<std::string>{"x y", "a b c d", "a b"}, "a b");
  CHECK(scores.rouge1.f1 == 1);
  CHECK(scores.rouge2.f1 == 1);
  CHECK(rouge("", "a").rouge1.f1 == 0);
  CHECK(rouge("a", "").rougeLsum.f1 == 0);
  CHECK(rouge("\xC3\xA9\xC3\xA9", "\xC3\xA9\xC3\xA9").rouge1.f1 == 0);  // no a-z
  CHECK_THROWS_WITH(rouge(std::vector<std::string>{}, "a"), Catch::Contains("a reference"));
}

TEST_CASE("rouge_words: runs of letters and digits, stems of the longer ones") {
  using Words = std::vector<std::string>;
  CHECK(rouge_words("It's 3.5, the CATS' running\n") ==
        Words{"it", "s", "3", "5", "the", "cats", "running"});
  CHECK(rouge_words("It's 3.5, the CATS' running\n", true) ==
        Words{"it", "s", "3", "5", "the", "cat", "run"});
  // The Kelvin sign is a k in small letters, and I with a dot an i and a dot.
  CHECK(rouge_words("\xE2\x84\xAA\xC4\xB0x") == Words{"ki", "x"});
}

TEST_CASE("porter_stem: the paper's examples and NLTK's exceptions") {
  const std::vector<std::pair<std::string, std::string>> known{{"caresses", "caress"},
                                                               {"ponies", "poni"},
                                                               {"dies", "die"},
                                                               {"flies", "fli"},
                                                               {"feed", "feed"},
                                                               {"agreed", "agre"},
                                                               {"plastered", "plaster"},
                                                               {"bled", "bled"},
                                                               {"motoring", "motor"},
                                                               {"sing", "sing"},
                                                               {"conflated", "conflat"},
                                                               {"troubled", "troubl"},
                                                               {"hopping", "hop"},
                                                               {"falling", "fall"},
                                                               {"filing", "file"},
                                                               {"happy", "happi"},
                                                               {"enjoy", "enjoy"},
                                                               {"relational", "relat"},
                                                               {"vietnamization", "vietnam"},
                                                               {"geology", "geolog"},
                                                               {"sky", "sky"},
                                                               {"skies", "sky"},
                                                               {"dying", "die"},
                                                               {"innings", "inning"},
                                                               {"succeed", "succeed"},
                                                               {"controlling", "control"},
                                                               {"adoption", "adopt"},
                                                               {"is", "is"},
                                                               {"yyyy", "yyyi"}};
  for (const auto& [word, stem] : known) {
    INFO(word);
    CHECK(porter_stem(word) == stem);
  }
}

TEST_CASE("text figures: words, repetition and what is new") {
  const TextFigures figures = text_figures(" the cat\tsat\non the  cat sat on the cat ");
  CHECK(figures.words == 10);
  CHECK(figures.unique_words == 4);
  CHECK(*figures.distinct_2 == 4.0 / 9);          // the cat, cat sat, sat on, on the
  CHECK(*figures.repeated_4 == Approx(3.0 / 7));  // four different ones of seven
  CHECK_FALSE(text_figures("one two three").repeated_4);
  CHECK_FALSE(distinct_ngrams("", 1));
  CHECK(*distinct_ngrams("a A", 1) == 1);
  CHECK(text_figures("a\xC2\xA0\xE3\x80\x80"
                     "b")
            .words == 2);  // Python's white space
  CHECK(*novel_ngrams("The cat ran.", "the cat sat, it ran", 2) == 0.5);
  CHECK(*novel_ngrams("The cat ran.", "the cat sat, it ran", 1) == 0);
  CHECK_FALSE(novel_ngrams("cat", "the cat", 2));
  CHECK_THROWS_WITH(distinct_ngrams("a", 0), Catch::Contains("n is at least 1. Got 0"));
  CHECK_THROWS_WITH(novel_ngrams("a", "b", 0), Catch::Contains("n is at least 1. Got 0"));
}
