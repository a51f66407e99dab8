"""Calibration at the edge of what floats and ranks can hold, each case with the outcome it must have.

The ids run N1 to N29. N14 to N22 are test_numeric_weights.py's; N9, a factor that is handed NaN, is
tests/compress/'s; N25 and N26 are perplexity's.
"""

import json
import math

import cupel
import pytest
import textbook
import torch
from conftest import TINY_CONFIG, tiny_state_dict
from small_layers import (
    ALL,
    HALF,
    PRUNE,
    QUANTIZE,
    SPARSEGPT,
    SWEEPS,
    check_sound,
    differing,
    layer,
    on,
    stats_of,
)

# --- Hessians that are poor, or not there ---------------------------------------------------------


@on(SWEEPS | {"wanda": PRUNE["wanda"], "ria": PRUNE["ria"]})
def test_n01_zero_tokens_are_an_error_with_the_layers_name(method):
    weight, _ = layer()
    with pytest.raises(cupel.NumericalError, match="0 tokens reached layers.3.up_proj"):
        ALL[method].compress(weight, cupel.InputStats(64), name="layers.3.up_proj")


def test_n01_zero_tokens_with_something_else_named_for_them():
    weight, _ = layer()
    empty = cupel.InputStats(64)
    made = cupel.SparseGpt(HALF, on_failure="magnitude").compress(weight, empty)
    assert torch.equal(made.weight, PRUNE["magnitude"].compress(weight).weight)
    assert any("0 tokens" in note and "magnitude instead" in note for note in made.notes)
    made = cupel.Gptq(cupel.Grid(), on_failure="rtn").compress(weight, empty)
    assert torch.equal(made.weight, QUANTIZE["rtn"].compress(weight).weight)
    assert any("0 tokens" in note and "nearest (min_max) instead" in note for note in made.notes)


@on(SWEEPS)
def test_n02_one_token(method):
    weight, x = layer(tokens=1)
    made = ALL[method].compress(weight, stats_of(x))
    check_sound(made)
    assert made.damping == 0.01 and not made.rungs
    assert any("1 tokens for 64 inputs" in note for note in made.notes)


def check_against_no_hessian(share, correlated):
    for seed in range(10):
        weight, x = layer(16, 96, int(96 * share), seed, correlated)
        for method, plain in (
            ("sparsegpt", "magnitude"),
            ("sparsegpt 2:4", "magnitude 2:4"),
            ("gptq", "rtn"),
        ):
            made = ALL[method].compress(weight, stats_of(x))
            check_sound(made)
            expected = ALL[plain].compress(weight, stats_of(x)).relative_error
            assert made.relative_error <= expected, method


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_n03_fewer_tokens_than_columns_still_beat_no_hessian(share):
    check_against_no_hessian(share, correlated=True)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_n03_fewer_tokens_than_columns_of_white_noise_still_beat_no_hessian(share):
    check_against_no_hessian(share, correlated=False)


@pytest.mark.parametrize("share", [0.75, 0.95])
def test_n03_nearly_as_many_tokens_as_columns_of_white_noise(share):
    # Here the method itself can lose to magnitude: the columns explain one another by chance, so what
    # the sweep moves elsewhere is noise. No more may be lost than the method as written loses.
    for seed in range(5):
        weight, x = layer(16, 96, int(96 * share), seed, correlated=False)
        made = ALL["sparsegpt"].compress(weight, stats_of(x))
        H = stats_of(x).hessian()
        book = textbook.sparsegpt(weight, H, sparsity=0.5, rules="exact")
        check_sound(made)
        assert made.relative_error <= 1.01 * textbook.relative_error(weight, book.weight, x)


@pytest.mark.parametrize("tokens", [1, 10, 32, 63])
def test_n04_rank_deficient_without_damping_climbs_the_ladder(tokens):
    damping = 0.0
    weight, x = layer(tokens=tokens)
    for made in (
        cupel.SparseGpt(HALF, damping=damping).compress(weight, stats_of(x)),
        cupel.Gptq(cupel.Grid(), damping=damping).compress(weight, stats_of(x)),
    ):
        check_sound(made)
        assert made.damping == 1e-4
        first, second, last = made.rungs
        assert first.startswith(f"damping {damping:g} in float32: not")
        assert second.startswith(f"damping {damping:g} in float64: not")
        assert last == "damping 0.0001 in float64: positive definite"
        # Nothing took the place of the method, or of its Hessian.
        assert not any("instead" in note for note in made.notes)
        H = stats_of(x).hessian().double()
        H.diagonal().add_(1e-4 * H.diagonal().mean())
        change = (made.weight - weight).double()
        assert made.sweep_loss == pytest.approx(float((change @ H * change).sum()) / 2, rel=1e-3)


def test_n04_rungs_are_in_the_record(tiny, tokens):
    solver = cupel.SparseGpt(HALF, damping=0)
    result = cupel.compress(tiny(), tokens[:1, :5], solver, propagation="dense")
    for record in json.loads(result.to_json())["layers"]:
        assert len(record["rungs"]) >= 3 and record["damping"] >= 1e-4
        assert record["rungs"][-1].endswith("positive definite")


@pytest.mark.parametrize("columns", [16, 64, 256])
@pytest.mark.parametrize("kind", ["constant", "random"])
def test_n05_rank_one_with_damping_beyond_float32_is_factored_in_float64(kind, columns):
    weight, x = layer(columns=columns, tokens=1, correlated=False)
    if kind == "constant":
        x = torch.ones_like(x)
    made = cupel.SparseGpt(HALF, damping=1e-7).compress(weight, stats_of(x))
    check_sound(made)
    assert made.damping == 1e-7
    assert made.rungs[-1] == "damping 1e-07 in float64: positive definite"


@on(ALL)
def test_n06_one_dead_channel(method):
    weight, x = layer()
    x[:, 9] = 0
    made = ALL[method].compress(weight, stats_of(x))
    check_sound(made)  # dead weights count towards the half that goes
    assert made.dead_columns == 1
    if not method.startswith(("magnitude", "rtn")):  # which look at weights alone
        assert (made.weight[:, 9] == 0).all()


@on(SWEEPS)
def test_n07_all_channels_dead_falls_to_what_needs_no_hessian_and_says_so(method):
    weight, _ = layer()
    dead = stats_of(torch.zeros(50, 64))
    made = ALL[method].compress(weight, dead, name="layers.3.up_proj")
    check_sound(made)
    assert made.dead_columns == 64
    told = "pruned by magnitude" if "sparsegpt" in method else "rounded to nearest"
    assert any("every input was zero" in note and told in note for note in made.notes)
    if method in ("sparsegpt", "gptq"):
        plain = {"sparsegpt": "magnitude", "gptq": "rtn"}[method]
        assert torch.equal(made.weight, ALL[plain].compress(weight).weight)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_n08_one_non_finite_activation_is_found(value, dtype):
    x = torch.randn(4 * 50, 64).to(dtype)
    x[2 * 50 + 17, 5] = value
    stats = cupel.InputStats(64)
    where = r"activations must be finite.* layers.3.up_proj, sample 14, token 17, input column 5"
    with pytest.raises(cupel.NumericalError, match=where):
        stats.add(x, layer="layers.3.up_proj", first_sample=12, sample_tokens=50)
    assert stats.tokens() == 0 and not stats.gram().any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("propagation", ["staged", "block", "dense"])
def test_n08_in_a_model_it_names_layer_sample_and_token(tokens, value, propagation):
    state = tiny_state_dict(TINY_CONFIG)
    state["model.embed_tokens.weight"][95] = value
    tokens[tokens == 95] = 0
    tokens[6, 21] = 95
    model = cupel.make_model(json.dumps(TINY_CONFIG), state)
    before = model.fingerprint()
    with pytest.raises(cupel.NumericalError, match=r"layers.0.*q_proj, sample 6, token 21"):
        cupel.compress(model, tokens, PRUNE["sparsegpt"], propagation=propagation)
    assert model.fingerprint() == before


# --- inputs far from 1 ----------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e4, 1e6])
@pytest.mark.parametrize("column", [0, 7, 63])
def test_n10_an_outlier_channel_costs_no_more_than_in_the_textbook(column, factor):
    weight, x = layer()
    x[:, column] *= factor
    H = textbook.hessian([x])
    for method, expected in (
        ("sparsegpt", textbook.sparsegpt(weight, H, 0.5)),
        ("sparsegpt 2:4", textbook.sparsegpt(weight, H, prune_n=2, prune_m=4, block=24)),
        ("gptq", textbook.gptq(weight, H, 4, block=24)),
        ("gptq group", textbook.gptq(weight, H, 4, 24, symmetric=True)),
    ):
        made = ALL[method].compress(weight, stats_of(x))
        check_sound(made)
        actual = textbook.relative_error(weight, made.weight, x)
        assert actual <= 1.01 * textbook.relative_error(weight, expected.weight, x)
        assert made.relative_error == pytest.approx(actual, rel=1e-3)


@on(ALL)
def test_n11_an_outlier_whose_square_leaves_float32(method):
    weight, x = layer()
    x[:, 7] *= 1e20
    made = ALL[method].compress(weight, stats_of(x))
    check_sound(made)
    assert made.dead_columns == 0
    actual = textbook.relative_error(weight, made.weight, x)
    assert made.relative_error == pytest.approx(actual, rel=1e-3)
    if method == "wanda" or (method in SPARSEGPT and "2:4" not in method):
        assert made.mask[:, 7].all()


@on(QUANTIZE)
def test_n11_what_is_small_beside_an_outlier_is_not_dead(method):
    weight, x = layer()
    x[:, 7] *= 1e24
    made = ALL[method].compress(weight, stats_of(x))
    check_sound(made)
    assert made.dead_columns == 0
    assert (made.weight != 0).any(0).all()


@on(ALL)
@pytest.mark.parametrize("power", [-120, -73, 73])  # 2^-73 is about 1e-22
def test_n12_tiny_and_huge_activations_change_nothing(method, power):
    weight, x = layer()
    made = ALL[method].compress(weight, stats_of(x * 2.0**power))
    expected = ALL[method].compress(weight, stats_of(x))
    assert not differing(made, expected)
    assert made.relative_error == expected.relative_error


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_n13_half_precision_inputs_are_summed_in_float32(dtype):
    x = (300 * torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))).to(dtype)
    made, expected = stats_of(x), stats_of(x.float())
    assert made.gram().dtype == torch.float32
    for part in ("gram", "sq_norm", "sum"):
        assert torch.equal(getattr(made, part)(), getattr(expected, part)())
    exact = x.double().T @ x.double()
    assert float(exact.max()) > 65504  # what float16 cannot hold
    torch.testing.assert_close(made.gram().double(), exact, rtol=1e-5, atol=1e-5 * exact.max())


# --- sums -----------------------------------------------------------------------------------------


def test_n23_order_and_batches_of_calibration():
    _, x = layer(columns=300, tokens=1024)
    whole = stats_of(x).hessian()
    shuffled = x[torch.randperm(1024, generator=torch.Generator().manual_seed(0))]
    for data, sizes in (
        (x, [1] * 24 + [1000]),
        (x, [512, 512]),
        (x, [100] * 10 + [24]),
        (shuffled, [64] * 16),
    ):
        one, again, merged = (cupel.InputStats(300) for _ in range(3))
        for part in data.split(sizes):
            one.add(part)
            again.add(part.clone())
            merged.merge(stats_of(part))
        assert torch.equal(one.hessian(), again.hessian())
        for made in (one, merged):
            assert made.tokens() == 1024 and made.sequences() == len(sizes)
            assert (made.hessian() - whole).norm() <= 1e-6 * whole.norm()


def test_n24_float32_finds_the_mask_of_float64(monkeypatch):
    bits = wrong = 0
    for case in range(20):
        generator = torch.Generator().manual_seed(case)
        draw = {"generator": generator, "dtype": torch.float64}
        # Condition numbers of H from 1e2 to 1e10.
        spectrum = torch.logspace(0, -(1 + 4 * case / 19), 256, dtype=torch.float64)
        directions = torch.linalg.qr(torch.randn(256, 256, **draw)).Q
        x = (torch.randn(512, 256, **draw) * spectrum @ directions).float()
        weight = (torch.randn(64, 256, **draw) / 16).float()
        for options, pattern in (
            ({"sparsity": 0.5}, HALF),
            ({"prune_n": 2, "prune_m": 4}, cupel.n_of_m(2, 4)),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(torch.Tensor, "float", torch.Tensor.double)  # the textbook in float64
                expected = textbook.sparsegpt(
                    weight, textbook.hessian([x]), **options, rules="exact"
                )
            assert expected.weight.dtype == torch.float64
            made = cupel.SparseGpt(pattern).compress(weight, stats_of(x))
            wrong += int((made.mask != expected.mask).sum())
            bits += made.mask.numel()
    assert wrong <= 1e-4 * bits


def test_n27_two_uses_of_a_module_add_up():
    """Models with a module used twice are test_huggingface_layers.py's; here is what they rely on."""
    weight, x = layer(tokens=300)
    twice = cupel.InputStats(64)
    twice.add(x[:120], layer="tied")
    twice.add(x[120:], layer="tied")
    assert twice.tokens() == 300 and twice.sequences() == 2
    made = PRUNE["sparsegpt"].compress(weight, twice)
    assert made.relative_error == pytest.approx(
        textbook.relative_error(weight, made.weight, x), rel=1e-4
    )


def flushes():
    return float(torch.tensor(1e-40) * 1) == 0


@on(ALL)
@pytest.mark.parametrize("denormals", [False, True])
@pytest.mark.parametrize("power", [0, -60])
def test_n28_flushing_denormals_changes_nothing(method, power, denormals):
    weight, x = layer()
    if denormals:
        weight[:, ::3] = 1e-40 * weight[:, ::3].sign()
        weight[::2, 1] = 1e-42
        x[::2] *= 1e-38
    weight, x = weight * 2.0**power, x * 2.0**power
    expected = ALL[method].compress(weight, stats_of(x))
    assert not flushes()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # only the calling thread flushes
    torch.set_flush_denormal(True)
    try:
        made = ALL[method].compress(weight, stats_of(x))
        still = flushes()
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
    assert still  # the caller's state is left as it is
    assert not differing(made, expected)


@pytest.mark.parametrize("columns", [7, 100, 300, 700])
def test_n29_hessians_are_exactly_symmetric(columns):
    _, x = layer(columns=columns, tokens=333)
    stats = cupel.InputStats(columns)
    stats.add(x[:100] * 1e-12)
    stats.add(x[100:200].bfloat16())
    stats.merge(stats_of(x[200:] * 3e5))
    for H in (stats.gram(), stats.hessian(), stats_of(x).gram()):
        assert torch.equal(H, H.T) and H.diagonal().min() > 0
