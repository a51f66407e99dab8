"""Scores with boundary="harness" against lm-eval's own on the same weights."""

import cupel
import numpy as np
import pytest
from conftest import words
from lm_eval_models import (
    LENGTH,
    byte_pairs,
    instances,
    oracle,
    questions,
    small_models,
    theirs_of,
    transformers,
)


@pytest.fixture(scope="module")
def small():
    return small_models()


@pytest.fixture(scope="module", params=["bos", "no bos", "stories260K"])
def both(request, small, shared_path):
    """(cupel's model, transformers' model, the tokenizer)."""
    if request.param != "stories260K":
        return (*small, byte_pairs(request.param == "bos"))
    folder = shared_path("models/stories260K")
    return (
        cupel.load_model(folder),
        transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval(),
        transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )


def harness(model, tokenizer, **options):
    options = {"boundary": "harness", "over_long": "truncate_left"} | options
    return cupel.ModelScorer(model, tokenizer, **options)


@pytest.mark.parametrize(("count", "full"), [(200, False), (50, True)], ids=["letters", "texts"])
def test_choices_are_scored_as_lm_eval_scores_them(both, count, full):
    ours, theirs, tokenizer = both
    asked = questions(count, 7, full)
    pairs = [pair for question in asked for pair in question]
    # Otherwise this would be a test of truncation.
    assert all(len(tokenizer(a + b)["input_ids"]) < LENGTH for a, b in pairs)
    expected = theirs_of(oracle(theirs, tokenizer), pairs)
    for model in (ours, theirs):
        scores = harness(model, tokenizer).log_likelihood(pairs)
        a = np.array([score.value for score in scores]).reshape(count, 4)
        b = np.array([value for value, _ in expected]).reshape(count, 4)
        assert np.abs(a - b).max() < 1e-4
        assert (a.argmax(1) == b.argmax(1)).all()
        assert [score.is_greedy for score in scores] == [greedy for _, greedy in expected]
    assert len({value for value, _ in expected}) > count


# Tokens that span the join, white space at either side of it, no context, nothing but white space.
JOINS = [
    ("ka", "lo"),
    ("kalo mi", "ren"),
    ("kalo m", "i ren"),
    ("kalo ", "mi"),
    ("kalo", " mi"),
    ("kalo \n ", "mi ren"),
    ("kalo\u00a0\u2003", "mi"),
    ("kalo ", " mi"),
    ("  ", "kalo mi"),
    ("", "kalo mi"),
    ("", " kalo"),
    ("", "</s>"),
    ("kalo", "\n"),
    ("v", "oner"),
    ("kare", "n"),
    ("tu sa vo", " ner ka lo mi"),
    ("é", "ü ☃"),
]


@pytest.mark.parametrize("pair", JOINS, ids=map(repr, JOINS))
def test_joins_are_lm_evals(both, pair):
    ours, theirs, tokenizer = both
    try:
        ((value, greedy),) = theirs_of(oracle(theirs, tokenizer), [pair])
    except (AssertionError, IndexError):  # without a word there; here with one
        with pytest.raises(ValueError, match="token"):
            harness(ours, tokenizer).log_likelihood([pair])
        return
    score = harness(ours, tokenizer).log_likelihood([pair])[0]
    assert score.value == pytest.approx(value, abs=1e-4)
    assert score.is_greedy == greedy


def test_the_rules_for_a_spanned_join_differ(small):
    """Or the test above would not tell one from the other."""
    ours, _, tokenizer = (*small, byte_pairs(True))
    text = words(6, 4)
    differences = []
    for cut in range(1, len(text) - 8):
        pair = (text[:cut], text[cut:])
        joint = cupel.ModelScorer(ours, tokenizer).log_likelihood([pair])[0]
        if "boundary_shift" in joint.flags:
            differences.append(
                joint.value - harness(ours, tokenizer).log_likelihood([pair])[0].value
            )
    assert len(differences) > 5 and min(map(abs, differences)) > 1e-3


def encodes_apart(tokenizer, context, continuation):
    before, whole = (tokenizer(text)["input_ids"] for text in (context, context + continuation))
    return len(whole) > len(before) and whole[: len(before)] == before


def test_greedy_continuations_are_told_as_in_lm_eval(both):
    ours, theirs, tokenizer = both
    scorer = harness(ours, tokenizer)
    prompts = [words(8, seed) for seed in range(60)]
    made = scorer.generate(prompts, max_new_tokens=1)
    pairs = [(prompt, one.text) for prompt, one in zip(prompts, made, strict=True)]
    # Random weights like bytes that are no text, and tokens that join the one before.
    pairs = [pair for pair in pairs if encodes_apart(tokenizer, *pair)]
    expected = [greedy for _, greedy in theirs_of(oracle(theirs, tokenizer), pairs)]
    assert [score.is_greedy for score in scorer.log_likelihood(pairs)] == expected
    assert any(expected)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 100])
def test_long_requests_lose_their_beginning_as_in_lm_eval(both, beyond):
    ours, theirs, tokenizer = both
    lm = oracle(theirs, tokenizer)
    ids = tokenizer(words(800, 3), add_special_tokens=False)["input_ids"]
    # A cut between tokens that encodes to the same tokens again.
    context = tokenizer.decode(ids[: LENGTH + 1 + beyond], skip_special_tokens=True)
    pair = (context, " tu")
    tokens = sum(map(len, lm._encode_pair(*pair)))
    ((value, greedy),) = theirs_of(lm, [pair])
    score = harness(ours, tokenizer).log_likelihood([pair])[0]
    assert score.value == pytest.approx(value, abs=1e-4)
    assert score.is_greedy == greedy
    assert ("truncated" in score.flags) == (tokens > LENGTH + 1)
    if tokens > LENGTH + 1:
        with pytest.raises(ValueError, match=f"{LENGTH}"):
            harness(ours, tokenizer, over_long="error").log_likelihood([pair])


@pytest.mark.parametrize("count", [1, 30, 170, 700])
def test_rolling_is_lm_evals(both, count):
    ours, theirs, tokenizer = both
    texts = [words(count, seed) for seed in range(3)]
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    expected = oracle(theirs, tokenizer).loglikelihood_rolling(requests, disable_tqdm=True)
    for model in (ours, theirs):
        made = harness(model, tokenizer).rolling_log_likelihood(texts)
        assert [score.value for score in made] == pytest.approx(expected, rel=1e-6)
