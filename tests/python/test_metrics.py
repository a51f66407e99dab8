"""Scoring rules against Python's own str and re, and against the published code's outcomes."""

import collections
import json
import re
import string
import sys
import unicodedata

import cupel
import pytest

ARTICLES = re.compile(r"\b(a|an|the)\b")
MARKS = set(string.punctuation) | set("‘’´`")

# Capitals that came with Unicode 16 and 17: an older Python or an older ICU leaves them alone.
NEW_CAPITALS = {
    *range(0x10D50, 0x10D66),
    *(0xA7CB, 0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA, 0xA7DC),
    *range(0x16EA0, 0x16EB9),
}


def every_character():
    return [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]


def known_characters():
    """Those of Python's Unicode; where it may be newer than ICU's, those of Unicode 3.2."""
    old = tuple(map(int, unicodedata.unidata_version.split("."))) <= (14, 0, 0)
    data = unicodedata if old else unicodedata.ucd_3_2_0
    return [c for c in every_character() if data.category(c) != "Cn"]


def normalize(text):
    """TriviaQA's rules in Python, from their description."""
    text = text.replace("_", " ").lower()
    text = "".join(" " if c in MARKS else c for c in text)
    return " ".join(ARTICLES.sub(" ", text).split())


def f1(prediction, gold):
    left, right = normalize(prediction).split(), normalize(gold).split()
    same = sum((collections.Counter(left) & collections.Counter(right)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(left), same / len(right)
    return 2 * precision * recall / (precision + recall)


def kick(text):
    return text.strip().replace(" ", "").lower()


def test_lower_case_is_that_of_python_in_the_whole_of_unicode():
    characters = every_character()
    # No case, and none of the characters that case rules look through: lines do not touch each other.
    ours = cupel.lower_case("\n\n".join(characters)).split("\n\n")
    expected = "\n\n".join(characters).lower().split("\n\n")
    assert len(ours) == len(expected) == len(characters)
    # Python compares by Unicode 14 to 17, according to its version, ICU 72 by Unicode 15.
    different = {e for o, e in zip(ours, expected, strict=True) if o != e}
    assert {ord(c.upper()) for c in different} <= NEW_CAPITALS


@pytest.mark.parametrize("frame", ["Α{}Σ", "Α{}Σ{}", "{}Σ", "ΑΣ{}", "ΑΣ{}Α", "ΑΣ{}.Α", "Α.{}Σ"])
def test_the_final_sigma_is_that_of_python_beside_every_character(frame):
    characters = [c for c in known_characters() if c != "\n"]
    text = "\n".join(frame.replace("{}", c) for c in characters)
    ours, expected = cupel.lower_case(text).split("\n"), text.lower().split("\n")
    assert len(ours) == len(expected)
    different = [c for c, o, e in zip(characters, ours, expected, strict=True) if o != e]
    assert different == []


def test_normalising_every_character_is_as_in_python():
    """Beside an article, which a letter or digit makes a part of a word, and in place of a space."""
    characters = known_characters()
    for frame in ("a{}the", "x {} an{}", "{}a"):
        for begin in range(0, len(characters), 4096):
            some = characters[begin : begin + 4096]
            text = " x ".join(frame.replace("{}", c) for c in some)
            if cupel.normalize_answer(text) == normalize(text):
                continue
            for c in some:  # names the character
                one = frame.replace("{}", c)
                assert cupel.normalize_answer(one) == normalize(one), hex(ord(c))
            raise AssertionError(f"only together: {hex(ord(some[0]))} and on")


CASES = [
    "", "The", "a", "...", "Ben Hur", "the Ben-Hur", "BEN_HUR (film)", "ben", "Hur, Ben", "not Ben Hur",
    "Ben\u00a0Hur\x1f", "naïve", "NAÏVE", "nai\u0308ve", "İzmir", "ΟΔΟΣ", "ΟΔΟΣ ΣΑΣ.", "1,000", "1 000", "U.S.A.",
    "東京 a", "Straße", "STRASSE", "x x y", "x y y", "an\u0301 a\u0301", "“the” the", "the the", "O’Neill",
]  # fmt: skip


@pytest.mark.parametrize("prediction", CASES)
def test_pairs_are_scored_as_in_python(prediction):
    written = normalize(prediction)
    assert cupel.normalize_answer(prediction) == written
    assert cupel.kick_normalize(prediction) == kick(prediction)
    for gold in CASES:
        wanted = normalize(gold)
        assert cupel.exact_match(prediction, [gold]) == (written == wanted)
        assert cupel.normalized_equal(prediction, [gold]) == (written == wanted != "")
        assert cupel.two_way_substring(prediction, [gold]) == (
            written in wanted or wanted in written
        )
        words = [written.split()[i:] for i in range(len(written.split()))]
        inside = any(w[: len(wanted.split())] == wanted.split() for w in words)
        assert cupel.contains_answer(prediction, [gold]) == (inside and wanted != "")
        assert cupel.token_f1(prediction, [gold]) == f1(prediction, gold)
        assert cupel.kick_substring(prediction, [gold]) == (kick(gold) in kick(prediction))


def test_the_best_gold_answer_counts_and_none_is_never_right():
    assert cupel.token_f1("ben hur", ["x", "ben", "y"]) == pytest.approx(2 / 3)
    assert cupel.exact_match("x", ["y", "the x"])
    for rule in (
        cupel.exact_match,
        cupel.normalized_equal,
        cupel.contains_answer,
        cupel.two_way_substring,
        cupel.kick_substring,
    ):
        assert rule("x", ["y", "x"]) is True
        assert rule("", []) is rule("x", []) is False
        with pytest.raises(TypeError):
            rule("x", "x")  # one answer is a list of one, not a list of letters
    assert cupel.token_f1("", []) == 0


@pytest.fixture
def golden(shared_path):
    return json.loads(shared_path("golden/golden_scoring.json").read_text(encoding="utf-8"))


def test_the_published_normaliser(golden):
    assert len(golden["normalize"]) == 28
    for case in golden["normalize"]:
        assert cupel.normalize_answer(case["in"]) == case["out"]


def test_the_published_exact_matches_and_f1(golden):
    assert len(golden["pairs"]) == 224
    for case in golden["pairs"]:
        pair = case["pred"], [case["gold"]]
        assert cupel.two_way_substring(*pair) == case["em_kick"], case
        assert cupel.exact_match(*pair) == case["em_strict"], case
        assert cupel.token_f1(*pair) == pytest.approx(case["f1"], abs=1e-12), case


def test_the_published_match_of_freebaseqa(golden):
    assert len(golden["freebase"]) == 10
    for case in golden["freebase"]:
        assert cupel.kick_substring(case["output"], case["answers"]) == bool(case["match"]), case
