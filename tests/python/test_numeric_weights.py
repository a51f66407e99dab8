"""Weights at the edge of what floats and grids can hold: cases N14 to N22, the others are
test_numeric_cases.py's."""

import math

import cupel
import pytest
import torch
from small_layers import ALL, HALF, PRUNE, check_sound, layer, on, stats_of, zeros

# --- weights: ties, zeros, tiny, huge, not finite -------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.0, 1e-6, 0.1, 0.3, 0.5, 0.7, 0.999, 1.0])
def test_n14_exactly_as_many_go_as_asked(sparsity):
    weight, x = layer(24, 90)
    for solver in (
        cupel.Prune("magnitude", cupel.unstructured(sparsity)),
        cupel.SparseGpt(cupel.unstructured(sparsity), block=32),
        cupel.SparseGpt(cupel.matrix_wise(sparsity)),
    ):
        made = solver.compress(weight, stats_of(x))
        assert zeros(made) == int((~made.mask).sum()) == int(sparsity * weight.numel())


def test_n15_ties_keep_the_lower_index():
    weight = torch.full((6, 16), -0.25)
    stats = stats_of(3 * torch.eye(16))  # no input is worth more than another
    by_row = torch.arange(16).expand(6, 16) < 8
    by_matrix = (torch.arange(6 * 16) < 48).view(6, 16)
    for method, expected in (
        ("magnitude", by_matrix),
        ("wanda", by_row),
        ("ria", by_row),
        ("sparsegpt", by_matrix),
        ("sparsegpt by row", by_row),
        ("sparsegpt by matrix", by_matrix),
        ("sparsegpt 2:4", torch.tensor([True, True, False, False]).repeat(6, 4)),
    ):
        assert torch.equal(PRUNE[method].compress(weight, stats).mask, expected), method


@on(ALL)
def test_n16_all_zero_weights(method):
    _, x = layer()
    made = ALL[method].compress(torch.zeros(32, 64), stats_of(x))
    check_sound(made)
    assert zeros(made) == 32 * 64 and made.sparsity == 1 and made.loss == 0
    if made.scales is not None:
        assert (made.scales == 1).all()


@on(PRUNE)
@pytest.mark.parametrize(
    "power", [-85, -110]
)  # 2^-85 is about 2.6e-26, of which float32 has no square
def test_n17_tiny_weights_are_compared_as_any_others(method, power):
    weight, x = layer()
    made = PRUNE[method].compress(weight * 2.0**power, stats_of(x))
    check_sound(made)
    expected = PRUNE[method].compress(weight, stats_of(x))
    assert torch.equal(made.mask, expected.mask)
    assert made.relative_error == pytest.approx(expected.relative_error, rel=1e-6)


@on(ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_n18_a_weight_whose_square_leaves_float32_is_kept(method, dtype):
    weight, x = layer()
    huge = 6e4 if dtype == torch.float16 else 3e38
    weight[3, 5] = huge
    made = ALL[method].compress(weight.to(dtype), stats_of(x))
    check_sound(made)
    assert float(made.weight[3, 5]) == pytest.approx(huge, rel=0.1)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_n18_rounding_leaves_the_dtype_in_an_error_or_not_at_all(dtype, bits, symmetric):
    weight, x = layer()
    weight[3, 5], weight[3, 9] = torch.tensor([1.0, -1.0]) * (
        6e4 if dtype == torch.float16 else 3e38
    )
    grid = cupel.Grid(bits=bits, symmetric=symmetric)
    for solver in (cupel.Rtn(grid), cupel.Gptq(grid)):
        try:
            made = solver.compress(weight.to(dtype), stats_of(x))
        except cupel.NumericalError as error:
            assert "row 3" in str(error)
        else:
            assert made.weight.isfinite().all()


@on(ALL)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_n19_a_weight_that_is_not_finite_is_refused(method, value):
    weight, x = layer()
    weight[11, 40] = value
    with pytest.raises(cupel.NumericalError, match=r"layers.3.up_proj.* row 11, column 40"):
        ALL[method].compress(weight, stats_of(x), name="layers.3.up_proj")


@on(ALL)
def test_n19_kept_it_spreads_no_further_than_its_row(method):
    weight, x = layer()
    weight[11, 40], weight[20, 3] = math.nan, math.inf
    stats = stats_of(x)
    made = ALL[method].compress(weight, stats, nan_policy="keep")
    good = weight.isfinite().all(1)
    assert torch.equal(made.weight[good], ALL[method].compress(weight[good], stats).weight)
    assert torch.equal(made.weight[~good].isfinite(), weight[~good].isfinite())
    assert torch.equal(made.weight[~good].nan_to_num(), weight[~good].nan_to_num())
    assert any("2 rows" in note and "11, 20" in note for note in made.notes)
    assert made.codes is None


# --- grids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_n20_no_weight_is_rounded_by_more_than_half_a_step(bits, symmetric):
    weight, _ = layer(8, 48)
    weight[0], weight[1], weight[2] = 0, 0.75, -0.75
    weight[3, 30] *= 1e6
    weight[4] = weight[4].abs()
    made = cupel.Rtn(cupel.Grid(bits=bits, group=16, symmetric=symmetric)).compress(weight)
    check_sound(made)
    steps = made.scales[:, made.group_index.long()].double()
    # Half a step, and what float32 makes of value / step at up to 2^8 steps.
    assert ((made.weight - weight).abs().double() <= steps * (0.5 + 2**8 * 2.0**-23)).all()
    assert zeros(cupel.Rtn(cupel.Grid(bits=bits)).compress(weight[:1])) == 48


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 40), (3, 7)])
@pytest.mark.parametrize("group", [0, 1, 16, 24, 40, 1000])
def test_n21_odd_shapes_and_a_short_last_group(shape, group):
    weight, x = layer(*shape, tokens=80, correlated=shape[1] > 1)
    rows, columns = shape
    index = torch.arange(columns) // (group or columns)
    grid = cupel.Grid(group=group)
    for solver in (cupel.Rtn(grid), cupel.Gptq(grid), cupel.SparseGpt(HALF, grid=grid)):
        made = solver.compress(weight, stats_of(x))
        check_sound(made)
        assert torch.equal(made.group_index.long(), index)
        assert made.scales.shape == made.zeros.shape == (rows, int(index[-1]) + 1)
        # A group's range is its own: what the others hold does not matter.
        if isinstance(solver, cupel.Rtn):
            last = cupel.Rtn(cupel.Grid()).compress(weight[:, index == index[-1]])
            assert torch.equal(made.weight[:, index == index[-1]], last.weight)


@on(ALL)
@pytest.mark.parametrize("shape", [(0, 64), (64,), (2, 4, 64)])
def test_n21_what_is_no_matrix_is_refused(method, shape):
    _, x = layer()
    with pytest.raises(ValueError, match="up_proj"):
        ALL[method].compress(torch.zeros(shape), stats_of(x), name="up_proj")


@pytest.mark.parametrize("kind", ["plain", "positive", "negative", "tailed"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_n22_codes_are_in_range_and_rounding_again_changes_nothing(bits, symmetric, kind):
    weight, _ = layer(64, 96)
    weight = {"positive": weight.abs(), "negative": -weight.abs(), "tailed": weight**5}.get(
        kind, weight
    )
    rtn = cupel.Rtn(cupel.Grid(bits=bits, group=24, symmetric=symmetric))
    made = rtn.compress(weight)
    check_sound(made)
    index = made.group_index.long()
    again = torch.round(made.weight / made.scales[:, index]) + made.zeros[:, index]
    assert torch.equal(again.clamp(0, 2**bits - 1), made.codes.float())
    # A symmetric grid has one value more below zero than above it, so one that is fitted to rounded
    # weights is narrower where the largest of them was positive.
    if not symmetric:
        assert torch.equal(rtn.compress(made.weight).codes, made.codes)
