"""Scorers over every kind of token model, and scorers that are written in Python."""

import gc

import cupel
import pytest
import torch
from conftest import words

PAIRS = [("kalo mi", " ren"), ("kalo mi", " tusa vo"), ("vo", "ner")]


def through_python(model):
    """A native model behind a Python class."""
    native = cupel.NativeTokenModel(model)

    class Python(cupel.TokenModel):
        def info(self):
            return native.info()

        def run(self, rows, sink):
            return native.run(rows, sink)

    return Python()


def through_a_function(model):
    return cupel.CallableTokenModel(
        model.logits, vocabulary=96, max_length=64, fingerprint=model.fingerprint()
    )


@pytest.mark.parametrize("way", [cupel.NativeTokenModel, through_python, through_a_function])
def test_scores_are_the_same_however_the_model_comes(way, tiny, tokenizer_model, tmp_path):
    model, tokenizer = tiny(), cupel.load_tokenizer(tokenizer_model)
    plain = cupel.ModelScorer(model, tokenizer)
    scorer = cupel.ModelScorer(way(model), tokenizer)
    text = words(12)
    for ours, theirs in (
        (scorer.log_likelihood(PAIRS), plain.log_likelihood(PAIRS)),
        (scorer.rolling_log_likelihood([text]), plain.rolling_log_likelihood([text])),
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert a.value == pytest.approx(b.value, abs=1e-4)
            assert (a.is_greedy, a.tokens, a.flags) == (b.is_greedy, b.tokens, b.flags)
    made = [s.generate(["kalo mi", "vo"], max_new_tokens=8) for s in (scorer, plain)]
    assert [g.text for g in made[0]] == [g.text for g in made[1]]
    info = scorer.info()
    assert info.model.fingerprint == model.fingerprint()
    assert info.tokenizer == tokenizer.fingerprint
    assert scorer.counts.run > 0 or scorer.counts.run == plain.counts.run

    (tmp_path / "text.txt").write_text(words(200), encoding="utf-8")
    values = [
        cupel.perplexity(m, tokenizer, tmp_path / "text.txt", length=32).value
        for m in (way(model), model)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_scorer_keeps_what_it_was_made_of(tiny, tokenizer_model):
    scorer = cupel.ModelScorer(through_python(tiny()), cupel.load_tokenizer(tokenizer_model))
    gc.collect()
    assert scorer.log_likelihood(PAIRS)[0].tokens > 0


def test_log_likelihood_is_that_of_the_logits(tiny, tokenizer_model):
    model, tokenizer = tiny(), cupel.load_tokenizer(tokenizer_model)
    context, continuation = PAIRS[1]
    before, ids = tokenizer.encode(context), tokenizer.encode(context + continuation)
    assert ids[: len(before)] == before
    expected = model.logits(torch.tensor([ids]))[0].double().log_softmax(-1)
    scored = range(len(before), len(ids))
    made = cupel.ModelScorer(model, tokenizer).log_likelihood([PAIRS[1]])[0]
    assert made.value == pytest.approx(
        sum(float(expected[i - 1, ids[i]]) for i in scored), abs=1e-4
    )
    assert made.is_greedy == all(int(expected[i - 1].argmax()) == ids[i] for i in scored)
    assert made.tokens == len(scored)


def test_generation_requests_bring_their_own_options(tiny, tokenizer_model):
    scorer = cupel.ModelScorer(tiny(), cupel.load_tokenizer(tokenizer_model))
    made = scorer.generate(
        [cupel.GenerationRequest("kalo", max_new_tokens=3), "kalo"], max_new_tokens=5
    )
    assert made[0].tokens <= 3 and made[1].text.startswith(made[0].text)
    with pytest.raises(ValueError, match="one for each of 2 prompts. Got 3"):
        scorer.generate(["kalo", "mi"], seed=[1, 2, 3])
    with pytest.raises(TypeError):
        scorer.generate(["kalo"], 5, ["x"], 0.0, 0, 1.0, 0, "one too many")


def test_progress_can_stop_a_scorer(tiny, tokenizer_model):
    seen = []

    def stop(progress):
        seen.append(progress.stage)
        return False

    scorer = cupel.ModelScorer(tiny(), cupel.load_tokenizer(tokenizer_model), progress=stop)
    with pytest.raises(KeyboardInterrupt):
        scorer.log_likelihood(PAIRS)
    assert seen


class Lengths(cupel.Scorer):
    """A scorer without a model."""

    def info(self):
        return cupel.ScorerInfo(cupel.TokenModelInfo(1, 1), "letters", {"rule": "length"})

    def log_likelihood(self, requests):
        return [cupel.LogLikelihood(-float(len(c)), False, len(c)) for _, c in requests]

    def rolling_log_likelihood(self, texts):
        return [cupel.LogLikelihood(-float(len(text)), tokens=len(text)) for text in texts]

    def generate(self, requests):
        return [cupel.Generation(r.prompt[::-1], r.max_new_tokens, "stop") for r in requests]


def test_a_scorer_may_be_written_in_python():
    base, scorer = cupel.Scorer, Lengths()
    # Through the base class, which is how C++ calls it.
    assert [s.value for s in base.log_likelihood(scorer, [("a", "bcd")])] == [-3.0]
    assert base.rolling_log_likelihood(scorer, ["four"])[0].tokens == 4
    made = base.generate(scorer, ["ab", "cd"], max_new_tokens=9)
    assert [(g.text, g.tokens, g.finish) for g in made] == [("ba", 9, "stop"), ("dc", 9, "stop")]
    assert base.info(scorer).settings == {"rule": "length"}
    assert base.prepare(scorer, [("a", "b")]) == [] and scorer.counts.run == 0

    class Empty(cupel.Scorer):
        pass

    for call in (
        lambda: Empty().log_likelihood([("a", "b")]),
        lambda: Empty().rolling_log_likelihood(["a"]),
        lambda: Empty().generate(["a"]),
        lambda: Empty().info(),
    ):
        with pytest.raises(ValueError, match=r"\[Scorer\] a subclass defines"):
            call()


def test_a_model_scorer_may_be_extended(tiny, tokenizer_model):
    class Halved(cupel.ModelScorer):
        def log_likelihood(self, requests):
            return [
                cupel.LogLikelihood(s.value / 2, s.is_greedy, s.tokens, s.flags)
                for s in super().log_likelihood(requests)
            ]

    tokenizer = cupel.load_tokenizer(tokenizer_model)
    plain = cupel.ModelScorer(tiny(), tokenizer).log_likelihood(PAIRS)
    made = cupel.Scorer.log_likelihood(Halved(tiny(), tokenizer), PAIRS)
    assert [s.value for s in made] == [pytest.approx(s.value / 2, abs=1e-4) for s in plain]


def test_greedy_text_is_what_a_generation_of_one_token_says(tiny, tokenizer_model):
    scorer = cupel.ModelScorer(tiny(), cupel.load_tokenizer(tokenizer_model))
    pairs = [(context, " the") for context, _ in PAIRS]
    made = scorer.generate([context for context, _ in PAIRS], max_new_tokens=1)
    assert [s.greedy_text for s in scorer.log_likelihood(pairs)] == [g.text for g in made]
    assert cupel.LogLikelihood().greedy_text is None
    assert cupel.LogLikelihood(greedy_text="a").greedy_text == "a"


def test_a_measure_counts_prompts_and_cuts_them(tiny, tokenizer_model):
    tokenizer = cupel.load_tokenizer(tokenizer_model)
    model = tiny()
    measure = cupel.ModelScorer(model, tokenizer).measure()
    with pytest.raises(ValueError, match="the scorer that counts tokens is gone"):
        measure.count("a")
    scorer = cupel.ModelScorer(model, tokenizer)
    measure = scorer.measure()
    assert measure.known and measure.limit == model.config.max_positions
    text = "Once upon a time there was a naïve little café by the sea."
    assert measure.count(text) == len(tokenizer.encode(text))
    for tokens in (2, 5, 9):
        head, tail = measure.head(text, tokens), measure.tail(text, tokens)
        assert text.startswith(head) and text.endswith(tail)
        assert measure.count(head) <= tokens < measure.count(text[: len(head) + 1])
        assert measure.count(tail) <= tokens
    assert not Lengths().measure().known
    own = cupel.TextMeasure(limit=4, count=len)
    assert (own.head("abcdef", 4), own.tail("abcdef", 4), own.head("abc", 4)) == (
        "abcd",
        "cdef",
        "abc",
    )
    with pytest.raises(ValueError, match="able to count tokens"):
        cupel.TextMeasure().head("a", 1)


def test_results_show_what_they_hold():
    score = cupel.LogLikelihood(value=-1.5, is_greedy=False, tokens=2, flags=["boundary_shift"])
    assert repr(score) == (
        "LogLikelihood(value=-1.5, is_greedy=False, tokens=2, flags=['boundary_shift'])"
    )
    made = cupel.Generation("x", 1, "end", ["empty"])
    assert repr(made) == "Generation(text='x', tokens=1, finish='end', flags=['empty'])"
    request = cupel.GenerationRequest("p", stop="\n", temperature=0.5, top_k=3, top_p=0.9, seed=2)
    assert eval(repr(request), {"GenerationRequest": cupel.GenerationRequest}).stop == ["\n"]
    assert repr(cupel.ScorerCounts(run=3, shared=4)) == "ScorerCounts(run=3, shared=4)"
    assert "letters" in repr(Lengths().info())


def test_evaluate_takes_any_token_model(tiny, tokenizer_model, tmp_path):
    (tmp_path / "text.txt").write_text(words(200), encoding="utf-8")
    model, tokenizer = tiny(), cupel.load_tokenizer(tokenizer_model)
    task = [f"perplexity:file={tmp_path / 'text.txt'},length=32"]
    a, b = (cupel.evaluate(m, tokenizer, task) for m in (model, through_a_function(model)))
    key = "perplexity"
    assert a.metrics[key]["gptq"][key] == pytest.approx(b.metrics[key]["gptq"][key], rel=1e-5)
