"""The statistics of paired evaluation, against SciPy, statsmodels and plain Python."""

import json
import math
import random

import cupel
import numpy
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

COUNTS = st.integers(0, 3000)
PROBABILITIES = st.floats(0, 1)


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")


@pytest.fixture(scope="module")
def sm():
    pytest.importorskip("statsmodels")
    import statsmodels.api

    return statsmodels.api.stats


def scores(items, share, seed):
    """0 or 1 for each item, with their subjects and dialogues."""
    rng = numpy.random.default_rng(seed)
    return (rng.random(items) < share).astype(float)


def pair(items, seed=0):
    """A model right on 60 % and one that changes 15 % of its verdicts."""
    dense = scores(items, 0.6, seed)
    return dense, numpy.where(scores(items, 0.15, seed + 1) > 0, 1 - dense, dense)


def bounds(estimate):
    return (estimate.value, estimate.standard_error, estimate.low, estimate.high)


# McNemar, flips


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_mcnemar_exact_is_scipys(stats, b, c):
    assume(b + c)
    got = cupel.mcnemar(b, c)
    assert got.exact == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)
    half = stats.binom.pmf(b, b + c, 0.5)
    mid_p = 1 - half / 2 if b == c else stats.binomtest(b, b + c).pvalue - half
    assert got.mid_p == pytest.approx(mid_p, rel=1e-9)
    assert got.corrected == pytest.approx(stats.chi2.sf(got.statistic, 1), rel=1e-12)
    assert got.p == (got.exact if b + c < 25 else got.corrected)


@pytest.mark.parametrize(("b", "c"), [(1, 7), (7, 1), (12, 30), (150, 86), (0, 40), (3, 2), (5, 5)])
def test_mcnemar_is_statsmodels(sm, b, c):
    table = [[794, b], [c, 570]]
    got = cupel.mcnemar(b, c)
    assert got.exact == pytest.approx(sm.mcnemar(table, exact=True).pvalue, rel=1e-12)
    if b != c:  # there statsmodels overcorrects, from 0 to 1 / (b + c)
        wanted = sm.mcnemar(table, exact=False, correction=True)
        assert got.statistic == pytest.approx(wanted.statistic, rel=1e-12)
        assert got.corrected == pytest.approx(wanted.pvalue, rel=1e-12)


def test_flips_of_lists_and_arrays():
    dense, compressed = pair(500)
    answers = ["ABCD"[i % 4] for i in range(500)], ["ABCD"[i % 3] for i in range(500)]
    flips = cupel.count_flips(dense > 0, list(compressed > 0), *answers)
    wrong = [a != b for a, b in zip(*answers, strict=True)] & (dense + compressed == 0)
    assert flips.right_to_wrong == ((dense == 1) & (compressed == 0)).sum()
    assert flips.wrong_to_right == ((dense == 0) & (compressed == 1)).sum()
    assert flips.changed_wrong == wrong.sum()
    total = flips.right_to_wrong + flips.wrong_to_right + flips.changed_wrong + flips.same
    assert total == flips.items == 500
    assert flips.rate == pytest.approx(abs(dense - compressed).mean())
    assert flips.net == pytest.approx((compressed - dense).mean())


# The bootstrap


def draws_of_python(groups, count, seed):
    """Means (dense, compressed) of each draw by the documented generators. A group's units are lists
    of (dense, compressed) pairs."""
    master, means = random.Random(seed), []
    while len(means) < count:
        generator = random.Random(master.getrandbits(64))
        for _ in range(min(16, count - len(means))):
            drawn = []
            for units in groups:
                for _ in units:
                    drawn += units[generator.randrange(len(units))]
            means.append(tuple(sum(p[k] for p in drawn) / len(drawn) for k in (0, 1)))
    return means


@pytest.mark.parametrize("how", ["items", "strata", "clusters"])
def test_bootstrap_is_that_of_python(how):
    rng = random.Random(5)
    pairs = [(float(rng.randint(1, 9)), float(rng.randint(0, 9))) for _ in range(30)]
    labels = [rng.choice([-4, 0, 11]) for _ in pairs]
    sets = {
        label: [p for p, at in zip(pairs, labels, strict=True) if at == label]
        for label in sorted(set(labels))
    }
    groups = {
        "items": [[[p] for p in pairs]],
        "strata": [[[p] for p in units] for units in sets.values()],
        "clusters": [list(sets.values())],
    }[how]
    options = {} if how == "items" else {how: labels}
    got = cupel.paired_bootstrap(*zip(*pairs, strict=True), draws=100, seed=9, level=0.9, **options)
    means = numpy.array(draws_of_python(groups, 100, 9))
    for estimate, values in (
        (got.difference, means[:, 1] - means[:, 0]),
        (got.ratio, means[:, 1] / means[:, 0]),
    ):
        wanted = (values.std(ddof=1), *numpy.quantile(values, [0.05, 0.95]))
        assert bounds(estimate)[1:] == pytest.approx(wanted, rel=1e-12)


def test_bootstrap_is_scipys_to_within_the_noise_of_the_draws(stats):
    dense, compressed = pair(400)
    got = cupel.paired_bootstrap(dense, compressed, draws=20000)

    def difference(a, b, axis):
        return b.mean(axis) - a.mean(axis)

    def ratio(a, b, axis):
        return b.mean(axis) / a.mean(axis)

    for estimate, statistic in ((got.difference, difference), (got.ratio, ratio)):
        wanted = stats.bootstrap(
            (dense, compressed),
            statistic,
            paired=True,
            n_resamples=20000,
            method="percentile",
            rng=numpy.random.default_rng(1),
        )
        # Either error is known to 1 / sqrt(2 * 20000) = 0.5 %, their quotient to 0.7 %: 4 of these.
        # A 97.5 % point is known to sqrt(0.975 * 0.025 / 20000) / 0.0584 = 1.9 % of an error, the
        # difference of two to 2.7 %: 4 of these. Means are multiples of 1/400, a quarter error.
        error = wanted.standard_error
        assert estimate.standard_error == pytest.approx(error, rel=0.03)
        step = 1 / 400 if statistic is difference else 1 / 400 / dense.mean()
        tolerance = 0.11 * error + step
        assert estimate.low == pytest.approx(wanted.confidence_interval.low, abs=tolerance)
        assert estimate.high == pytest.approx(wanted.confidence_interval.high, abs=tolerance)


def test_bootstrap_intervals_cover():
    rng = numpy.random.default_rng(3)
    covered = 0
    for trial in range(400):
        dense = rng.normal(5, 2, 80)
        compressed = dense + rng.normal(-0.4, 1, 80)
        low, high = bounds(cupel.paired_bootstrap(dense, compressed, draws=500, seed=trial).difference)[2:]  # fmt: skip
        covered += low <= -0.4 <= high
    # 95 % of 400, give or take 3 * sqrt(0.95 * 0.05 / 400) = 3.3 %, less 1 % for small samples.
    assert 0.905 <= covered / 400 <= 0.985


def test_bootstrap_gives_the_same_bytes_for_any_number_of_threads():
    dense, compressed = pair(700)
    before, seen = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            got = cupel.paired_bootstrap(dense, compressed, draws=777, seed=2**40 + 1)
            seen.add((bounds(got.difference), bounds(got.ratio)))
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1
    other = cupel.paired_bootstrap(dense, compressed, draws=777, seed=2)
    assert (bounds(other.difference), bounds(other.ratio)) not in seen


def test_strata_remove_what_lies_between_them():
    subject = numpy.arange(600) % 3
    dense = numpy.ones(600)
    compressed = numpy.array([0.9, 0.5, 0.1])[subject] + numpy.tile([-0.05, 0.05], 300)
    plain = cupel.paired_bootstrap(dense, compressed, draws=2000).difference
    strata = cupel.paired_bootstrap(dense, compressed, draws=2000, strata=subject).difference
    assert strata.value == plain.value
    # Variances 0.05^2 within a subject, and 0.32 / 3 more between them.
    assert strata.standard_error == pytest.approx(0.05 / 600**0.5, rel=0.08)
    assert plain.standard_error == pytest.approx((0.0025 + 0.32 / 3) ** 0.5 / 600**0.5, rel=0.08)


def test_clusters_widen_the_error_of_items_that_hang_together():
    dense, compressed = pair(200)
    turns = numpy.repeat(numpy.arange(200), 2)
    twice = numpy.repeat(dense, 2), numpy.repeat(compressed, 2)
    once = cupel.paired_bootstrap(dense, compressed, draws=1000)
    assert bounds(cupel.paired_bootstrap(*twice, draws=1000, clusters=turns).ratio) == bounds(
        once.ratio
    )
    naive = cupel.paired_bootstrap(*twice, draws=1000).difference.standard_error
    assert naive == pytest.approx(once.difference.standard_error / 2**0.5, rel=0.1)


# Matching


def test_matching_marks_the_cells_of_the_papers_table(shared_path):
    table = json.loads(shared_path("golden/paper_tables.json").read_text())["table3"]
    marks = {  # at 10, 20, 30, 40, 50 %: m = matching
        "factoid_qa_acc_pct": {"magnitude": "-m---", "sparsegpt": "mm---", "wanda": "mm---"},
        "mmlu_acc": {"magnitude": "mm---", "sparsegpt": "mm---", "wanda": "mmm--"},
        "long_story_coherence": {"magnitude": "mm---", "sparsegpt": "m-m--", "wanda": "mmm--"},
        "instruction_gpt4": {"magnitude": "mm---", "sparsegpt": "mm---", "wanda": "mm---"},
    }
    for task, methods in table.items():
        for method, (dense, *rest) in methods.items():
            got = "".join("m" if cupel.matching(dense, score) else "-" for score in rest)
            assert got == marks[task][method], (task, method)


def test_matching_verdict_is_the_bootstrap_of_the_margin():
    dense, compressed = pair(300)
    got = cupel.matching_verdict(dense, compressed, fraction=0.9, draws=1500, seed=4)
    margin = cupel.paired_bootstrap(0.9 * dense, compressed, draws=1500, seed=4).difference
    assert bounds(got.margin) == pytest.approx(bounds(margin), rel=1e-9)
    assert (got.dense, got.compressed, got.fraction) == (dense.mean(), compressed.mean(), 0.9)
    assert got.score_matches == (compressed.mean() >= 0.9 * dense.mean())


def test_three_verdicts_and_their_words():
    dense = scores(2000, 0.6, 1)
    assert cupel.matching_verdict(dense, dense).verdict == cupel.Match.matching
    worse = dense * scores(2000, 0.8, 2)
    assert cupel.matching_verdict(dense, worse).verdict == cupel.Match.not_matching
    few = cupel.matching_verdict(dense[:40], (dense * scores(2000, 0.93, 3))[:40])
    assert few.verdict == cupel.Match.undecided
    assert [str(match) for match in cupel.Match.__members__.values()] == [
        "matching",
        "not matching",
        "undecided",
    ]


# Losses


@pytest.mark.parametrize("blocks", [2, 3, 10, 300, 20000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_paired_loss_of_even_blocks_is_a_paired_t_test(stats, blocks, level):
    rng = numpy.random.default_rng(blocks)
    dense = rng.normal(3, 0.5, blocks)
    compressed = dense + rng.normal(0.1, 0.05, blocks)
    got = cupel.paired_loss(dense * 64, compressed * 64, [64] * blocks, level)
    test = stats.ttest_rel(compressed, dense)
    wanted = test.confidence_interval(level)
    assert got.ln_ratio.value == pytest.approx((compressed - dense).mean(), rel=1e-10)
    assert got.ln_ratio.standard_error == pytest.approx(stats.sem(compressed - dense), rel=1e-9)
    assert (got.ln_ratio.low, got.ln_ratio.high) == pytest.approx(tuple(wanted), rel=1e-8)
    assert got.ratio.low == pytest.approx(math.exp(wanted.low), rel=1e-8)
    assert got.correlation == pytest.approx(stats.pearsonr(dense, compressed)[0], rel=1e-9)
    unpaired = math.hypot(stats.sem(dense), stats.sem(compressed))
    assert got.unpaired_standard_error == pytest.approx(unpaired, rel=1e-9)


def test_paired_loss_of_uneven_blocks_is_a_weighted_regression():
    # A constant fitted to nats per token with weights `tokens`, and White's error (HC1), is the
    # ratio estimator.
    api = pytest.importorskip("statsmodels.api")
    rng = numpy.random.default_rng(0)
    tokens = rng.integers(5, 500, 60)
    dense = tokens * rng.normal(3, 0.5, 60)
    compressed = dense + tokens * rng.normal(0.1, 0.2, 60)

    def fit(losses):
        model = api.WLS(losses / tokens, numpy.ones(60), weights=tokens)
        return model.fit(cov_type="HC1", use_t=True)

    got, wanted = cupel.paired_loss(dense, compressed, tokens), fit(compressed - dense)
    assert got.ln_ratio.value == pytest.approx(wanted.params[0], rel=1e-10)
    assert got.ln_ratio.standard_error == pytest.approx(wanted.bse[0], rel=1e-10)
    assert bounds(got.ln_ratio)[2:] == pytest.approx(tuple(wanted.conf_int()[0]), rel=1e-8)
    assert cupel.block_standard_error(dense, tokens) == pytest.approx(fit(dense).bse[0], rel=1e-10)
    unpaired = math.hypot(fit(dense).bse[0], fit(compressed).bse[0])
    assert got.unpaired_standard_error == pytest.approx(unpaired, rel=1e-10)
    assert got.ratio.value == math.exp(got.ln_ratio.value)


# The rest


@pytest.mark.parametrize("count", [1, 2, 5, 30])  # statsmodels takes 0.15 s for each
def test_holm_is_statsmodels(sm, count):
    p = numpy.random.default_rng(count).integers(0, 40, count) / 200  # with ties
    wanted = sm.multipletests(p, method="holm")[1]
    assert cupel.holm(p) == pytest.approx(list(wanted), rel=1e-12, abs=1e-300)


@given(st.lists(PROBABILITIES, min_size=1, max_size=30))
def test_holm_never_helps_and_keeps_the_order(p):
    adjusted = cupel.holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    ranked = sorted(range(len(p)), key=p.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in zip(ranked, ranked[1:], strict=False))


@settings(deadline=None)
@given(COUNTS, COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_is_statsmodels(sm, right, wrong, level):
    assume(right + wrong)
    got = cupel.wilson(right, right + wrong, level)
    low, high = sm.proportion_confint(right, right + wrong, alpha=1 - level, method="wilson")
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert 0 <= got.low <= got.high <= 1


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40), PROBABILITIES
)
def test_quantile_is_numpys(values, q):
    assert cupel.quantile(values, q) == pytest.approx(numpy.quantile(values, q), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("items", "rate", "power"),
    [(1000, 0.1, 0.8), (4000, 0.05, 0.9), (300, 0.5, 0.8), (2000, 1, 0.7)],
)
def test_minimum_detectable_effect_is_found_that_often(stats, items, rate, power):
    effect = cupel.minimum_detectable_effect(items, rate, power=power)
    a, b = stats.norm.ppf(0.975), stats.norm.ppf(power)
    needed = ((a * rate**0.5 + b * (rate - effect**2) ** 0.5) / effect) ** 2
    assert needed == pytest.approx(items, rel=1e-9)
    # The exact power of the chi-square test (without correction): for each number of discordant
    # items, how likely their split is beyond the critical value.
    discordant = numpy.arange(1, items + 1)
    reach = a * numpy.sqrt(discordant)
    most = numpy.ceil((discordant - reach) / 2) - 1, numpy.floor((discordant + reach) / 2)
    split = (1 + effect / rate) / 2
    beyond = stats.binom.cdf(most[0], discordant, split) + stats.binom.sf(
        most[1], discordant, split
    )
    found = (stats.binom.pmf(discordant, items, rate) * beyond).sum()
    assert found == pytest.approx(power, abs=0.02)


def test_an_effect_that_is_out_of_reach_is_infinite():
    assert cupel.minimum_detectable_effect(100, 0.02) == math.inf


def test_mistakes_are_value_errors_and_name_the_rule():
    for call, message in (
        (lambda: cupel.mcnemar(-1, 0), r"\[mcnemar\] counts lie in \[0, 2\^40\]. Got -1 and 0."),
        (lambda: cupel.paired_bootstrap([1], [1, 2]), "Got 1 and 2 scores."),
        (lambda: cupel.paired_bootstrap([1], [1], draws=0), "draws is at least 1. Got 0."),
        (lambda: cupel.paired_bootstrap([1], [1], strata=[1], clusters=[1]), "not both"),
        (lambda: cupel.matching_verdict([1], [-1]), "scores are not negative. Got -1."),
        (lambda: cupel.paired_loss([1.0], [1.0], [0]), "Got 0 in block 0."),
        (lambda: cupel.holm([2]), r"p-values lie in \[0, 1\]. Got 2 at index 0."),
        (lambda: cupel.wilson(3, 2), "Got 3 of 2."),
        (lambda: cupel.quantile([], 0.5), "there must be values. Got none."),
        (lambda: cupel.count_flips([True], [], ["a"], ["b"]), "Got 1 and 0 verdicts"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_a_numerical_error_that_names_its_place(bad):
    for call, place in (
        (lambda: cupel.paired_loss([1, 1, 1], [1, 1, bad], [1, 1, 1]), "block 2"),
        (lambda: cupel.block_standard_error([1, bad], [1, 1]), "block 1"),
        (lambda: cupel.paired_bootstrap([1, bad], [1, 1]), "item 1 of the dense model"),
        (lambda: cupel.quantile([bad], 0.5), "index 0"),
    ):
        with pytest.raises(cupel.NumericalError, match=place):
            call()
