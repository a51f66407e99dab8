"""ROUGE, stems and figures of texts, beside the packages that they follow."""

import random

import cupel
import pytest

WORDS = (
    "the a of news police said running runs ran happily organization organizational relational "
    "ponies dying skies generously falling controlled succeeds U.S. 3.5 it's co-operate Ísland "
    "naïve 2014 KELVIN İstanbul zh中文"
).split()


def text(rng, most=60):
    breaks = [" ", " ", " ", "\n", ", ", ".  ", "\n\n"]
    return "".join(rng.choice(WORDS) + rng.choice(breaks) for _ in range(rng.randint(0, most)))


def scores(score):
    return {
        name: (getattr(score, name).precision, getattr(score, name).recall, getattr(score, name).f1)
        for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")
    }


@pytest.mark.parametrize("stem", [False, True])
def test_rouge_is_that_of_rouge_score(stem):
    package = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = package.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stem)
    rng = random.Random(7)
    for _ in range(500):
        references = [text(rng) for _ in range(rng.randint(1, 3))]
        written = text(rng)
        mine = cupel.rouge(references[0], written, stem=stem)
        theirs = scorer.score(references[0], written)
        assert scores(mine) == {k: pytest.approx(tuple(v), abs=1e-15) for k, v in theirs.items()}
        mine = cupel.rouge(references, written, stem=stem)
        theirs = scorer.score_multi(references, written)
        assert scores(mine) == {k: pytest.approx(tuple(v), abs=1e-15) for k, v in theirs.items()}


def test_stems_are_those_of_nltk():
    porter = pytest.importorskip("nltk.stem.porter")
    stemmer = porter.PorterStemmer()
    rng = random.Random(3)
    heads = (
        "ab be con dis ex gen hop log mo na or pl qu ri sky tr un vi we yy z sh th eo ge".split()
    )
    tails = (
        "s es ies ied eed ed ing at bl iz y ational tional enci anci izer bli alli entli eli ousli "
        "ization ation ator alism iveness fulness ousness aliti iviti biliti fulli logi icate ative "
        "alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion sion tion ou "
        "ism ate iti ous ive ize e ll ly"
    ).split()
    made = {
        "".join(rng.choices(heads, k=rng.randint(0, 3))) + "".join(rng.choices(tails, k=k))
        for k in (0, 1, 1, 2, 3)
        for _ in range(8000)
    }
    letters = {"".join(rng.choices("aeiouybdlstzwx019", k=rng.randint(1, 9))) for _ in range(20000)}
    known = "sky skies dying lying tying news innings inning outings outing cannings canning howe"
    words = sorted(made | letters | {*known.split(), "proceed", "exceed", "succeed"} - {""})
    assert len(words) > 40000
    wrong = [w for w in words if w and cupel.porter_stem(w) != stemmer.stem(w)]
    assert wrong == []


def test_figures_are_those_of_pythons_own_words():
    rng = random.Random(1)
    for _ in range(200):
        written, source = text(rng), text(rng)
        words = written.split()
        figures = cupel.text_figures(written)
        assert (figures.words, figures.unique_words) == (len(words), len(set(words)))
        for n in (1, 2, 4):
            grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            distinct = len(set(grams)) / len(grams) if grams else None
            assert cupel.distinct_ngrams(written, n) == distinct
            repeated = None if distinct is None else 1 - distinct
            assert cupel.repeated_ngrams(written, n) == repeated
        assert figures.distinct_2 == cupel.distinct_ngrams(written, 2)
        assert figures.repeated_4 == cupel.repeated_ngrams(written, 4)
        novel = cupel.novel_ngrams(written, source, 2)
        assert novel is None or 0 <= novel <= 1


def test_novel_ngrams_by_hand():
    assert cupel.novel_ngrams("The cat ran. The dog!", "the cat sat; the dog ran", 2) == 2 / 4
    assert cupel.novel_ngrams("cat", "cat", 2) is None
    with pytest.raises(ValueError, match="n is at least 1. Got 0"):
        cupel.novel_ngrams("cat", "cat", 0)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="there must be a reference"):
        cupel.rouge([], "text")
    with pytest.raises(TypeError):
        cupel.rouge("a", 3)
