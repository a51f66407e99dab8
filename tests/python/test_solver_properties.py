"""What holds of every method for any weights, inputs and options."""

import itertools
import json

import cupel
import pytest
import textbook
import torch
from conftest import TINY_CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st
from small_layers import (
    ALL,
    GPTQ,
    HALF,
    RTN,
    SPARSEGPT,
    TWO_OF_FOUR,
    check_codes,
    differing,
    layer,
    on,
    stats_of,
    zeros,
)

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def solve(method, weight, x, **options):
    return ALL[method].compress(weight, stats_of(x), **options)


# --- how many go ----------------------------------------------------------------------------------

SPARSITIES = [0.0, 1e-6, *(tenths / 10 for tenths in range(1, 10)), 1.0]
SCOPES = {"row": cupel.row_wise, "matrix": cupel.matrix_wise, None: cupel.unstructured}


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("scope", SCOPES)
def test_counts_are_exact(scope, sparsity):
    pattern = SCOPES[scope](sparsity)
    for rows, columns in ((24, 90), (7, 33), (1, 130), (9, 1), (1, 1)):
        weight, x = layer(rows, columns)
        stats = stats_of(x)
        for solver, own in (
            (cupel.Prune("magnitude", pattern), "matrix"),
            (cupel.Prune("wanda", pattern), "row"),
            (cupel.Prune("ria", pattern), "row"),
            (cupel.SparseGpt(pattern), "matrix"),
            (cupel.SparseGpt(pattern, block=32), "matrix"),
            (cupel.SparseGpt(pattern, block=5, grid=cupel.Grid()), "matrix"),
        ):
            made = solver.compress(weight, stats)
            pruned = ~made.mask
            assert (made.weight[pruned] == 0).all()
            if made.codes is None:
                assert torch.equal(made.weight == 0, pruned)
            if (scope or own) == "row":
                assert (pruned.sum(1) == int(sparsity * columns)).all()
            else:
                assert pruned.sum() == int(sparsity * (rows * columns))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4), (3, 4), (0, 4), (4, 4)])
def test_n_of_m_is_exact_in_every_group(n, m):
    pattern = cupel.n_of_m(n, m)
    weight, x = layer(20, 264)
    solvers = [cupel.Prune(criterion, pattern) for criterion in ("magnitude", "wanda", "ria")]
    for block in (1, 5, 126, 128, 1000):
        solvers.append(cupel.SparseGpt(pattern, block=block))
        solvers.append(cupel.SparseGpt(pattern, block=block, grid=cupel.Grid()))
        solvers.append(cupel.SparseGpt(pattern, block=block, selection="dense"))
    for solver in solvers:
        made = solver.compress(weight, stats_of(x))
        assert (made.mask.view(20, -1, m).sum(2) == n).all()
        assert (made.weight[~made.mask] == 0).all()


@PROPERTY
@given(count=st.integers(0, 18 * 35), seed=st.integers(0, 3), block=st.integers(1, 40))
def test_a_count_from_an_allocation_is_followed_exactly(count, seed, block):
    weight, x = layer(18, 35, seed=seed)
    for solver in (
        cupel.Prune("magnitude", cupel.unstructured(0.5)),
        cupel.Prune("wanda", cupel.unstructured(0.5)),
        cupel.SparseGpt(cupel.unstructured(0.5), block=block),
        cupel.SparseGpt(cupel.matrix_wise(0.5), block=block),
        cupel.SparseGpt(cupel.row_wise(0.5), block=block),
    ):
        made = solver.compress(weight, stats_of(x), prune_count=count)
        assert zeros(made) == int((~made.mask).sum()) == count
        if solver.name.endswith("by row"):
            by_row = (~made.mask).sum(1)
            assert by_row.max() - by_row.min() <= 1


# --- units and orders -----------------------------------------------------------------------------

POWERS = [-60, -21, -20, -1, 1, 20, 21, 60]


@on(ALL)
def test_inputs_times_a_power_of_two_change_no_bit(method):
    for weight, x in (layer(24, 96, seed=1), layer(17, 72, tokens=40, correlated=False)):
        expected = solve(method, weight, x)
        for power in POWERS:
            made = solve(method, weight, x * 2.0**power)
            assert not differing(made, expected), power
            assert made.relative_error == expected.relative_error
            assert made.loss == pytest.approx(expected.loss * 4.0**power, rel=1e-12)


@on(ALL)
def test_weights_times_a_power_of_two_scale_exactly(method):
    for weight, x in (layer(24, 96, seed=1), layer(17, 72, tokens=40, correlated=False)):
        expected = solve(method, weight, x)
        for power in POWERS:
            made = solve(method, weight * 2.0**power, x)
            assert not differing(made, expected, weight_factor=2.0**power), power
            assert made.relative_error == pytest.approx(expected.relative_error, rel=1e-6)


@on(ALL)
@pytest.mark.parametrize("shape", [(40, 96), (17, 120), (258, 200), (300, 48)], ids=str)
def test_the_order_of_rows_does_not_matter(shape, method):
    """A row is treated by itself, or compared with all others as a set (there are no ties here)."""
    weight, x = layer(*shape)
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))
    made, expected = solve(method, weight[order], x), solve(method, weight, x)
    for field in ("mask", "codes", "zeros", "scales", "weight"):
        one, other = getattr(made, field), getattr(expected, field)
        assert (one is None and other is None) or torch.equal(one, other[order]), field


@pytest.mark.parametrize("method", ["magnitude", "wanda", "rtn", "rtn mse"])
def test_the_order_of_columns_does_not_matter_to_what_looks_at_one_at_a_time(method):
    for seed in range(5):
        weight, x = layer(40, 96, seed=seed)
        order = torch.randperm(96, generator=torch.Generator().manual_seed(seed))
        made, expected = solve(method, weight[:, order], x[:, order]), solve(method, weight, x)
        if method == "rtn mse":  # a row's errors are summed in another order
            same_scale = (made.scales == expected.scales).all(1)
            assert same_scale.double().mean() >= 0.9
            assert torch.equal(made.weight[same_scale], expected.weight[:, order][same_scale])
        else:
            assert torch.equal(made.weight, expected.weight[:, order])


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group", [0, 32])
def test_error_falls_with_bits(group, symmetric):
    for seed, correlated in itertools.product(range(4), (False, True)):
        weight, x = layer(24, 96, seed=seed, correlated=correlated)
        grids = [cupel.Grid(bits=bits, group=group, symmetric=symmetric) for bits in range(1, 9)]
        for solver in (cupel.Rtn, cupel.Gptq):
            made = [solver(grid).compress(weight, stats_of(x)) for grid in grids]
            errors = [one.relative_error for one in made]
            assert errors == sorted(errors, reverse=True) and errors[-1] < errors[3] / 50


@PROPERTY
@given(seed=st.integers(0, 10**6), bits=st.integers(1, 8), symmetric=st.booleans())
def test_mse_clip_has_the_lesser_error_in_its_own_norm(seed, bits, symmetric):
    weight, _ = layer(16, 48, seed=seed)
    error = {}
    for clip in ("min_max", "mse"):
        grid = cupel.Grid(bits=bits, group=20, symmetric=symmetric, clip=clip)
        difference = (cupel.Rtn(grid).compress(weight).weight - weight).double()
        groups = difference.abs().pow(2.4).split(20, dim=1)
        error[clip] = torch.stack([part.sum(1) for part in groups], 1)
    # The search compares float32 sums.
    assert (error["mse"] <= error["min_max"] * (1 + 1e-5)).all()
    if bits in (2, 3, 4):
        assert error["mse"].sum() < error["min_max"].sum()


def test_hessian_clip_has_the_lesser_output_error():
    total = {"min_max": 0.0, "hessian": 0.0}
    for seed in range(50):
        weight, x = layer(16, 64, seed=seed)
        for clip in total:
            grid = cupel.Grid(bits=3, clip=clip)
            total[clip] += cupel.Gptq(grid).compress(weight, stats_of(x)).relative_error
    assert total["hessian"] < total["min_max"]


# --- codes ----------------------------------------------------------------------------------------

GRIDS = st.builds(
    cupel.Grid,
    bits=st.integers(1, 8),
    group=st.sampled_from([0, 1, 7, 16, 24, 100]),
    symmetric=st.booleans(),
    clip=st.sampled_from(["min_max", "mse", "hessian"]),
    scale_dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)


@settings(PROPERTY, max_examples=150)
@given(
    grid=GRIDS,
    shape=st.sampled_from([(1, 1), (1, 40), (40, 1), (9, 40), (33, 52)]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    block=st.sampled_from([1, 16, 24, 128]),
    order=st.sampled_from(["none", "activation"]),
    static=st.booleans(),
    dead=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_codes_make_the_weights_bit_for_bit(grid, shape, dtype, block, order, static, dead, seed):
    weight, x = layer(*shape, tokens=60, seed=seed)
    x[:, 1 : 1 + dead] = 0
    solvers = [
        cupel.Gptq(grid, block=block, order=order, static_groups=static),
        cupel.SparseGpt(HALF, block=block, grid=grid),
    ]
    if grid.clip != "hessian":  # which needs a sweep's factor
        solvers.append(cupel.Rtn(grid))
    for solver in solvers:
        made = solver.compress(weight.to(dtype), stats_of(x))
        assert made.weight.dtype == dtype and made.bits == grid.bits
        check_codes(made)
        stored = getattr(torch, grid.scale_dtype)
        assert torch.equal(made.scales.to(stored).float(), made.scales)
        if grid.symmetric:
            assert (made.zeros == 2 ** (grid.bits - 1)).all()
        if order == "none" or static or not isinstance(solver, cupel.Gptq):
            index = torch.arange(shape[1]) // (grid.group or shape[1])
            assert torch.equal(made.group_index.long(), index)


# --- masks, chains and methods of one's own -------------------------------------------------------


def some_mask(shape, share=0.3, seed=7):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share


@on({**RTN, **GPTQ})
def test_what_a_mask_prunes_stays_zero_in_a_quantizer(method):
    weight, x = layer()
    mask = some_mask(weight.shape)
    made = solve(method, weight, x, mask=mask)
    assert torch.equal(made.mask, mask) and (made.weight[~mask] == 0).all()
    check_codes(made)
    # What is pruned widens nobody's grid.
    widened = torch.where(mask, weight, 1e3)
    assert not differing(solve("rtn", widened, x, mask=mask), solve("rtn", weight, x, mask=mask))
    if method in GPTQ:
        plain = solve("rtn", weight, x, mask=mask)
        assert made.relative_error < plain.relative_error


@on(SPARSEGPT)
def test_what_a_mask_prunes_counts_towards_what_goes(method):
    weight, x = layer()
    mask = some_mask(weight.shape)
    if "2:4" in method:  # an earlier 3:4 leaves room for 2:4
        mask = cupel.Prune("magnitude", cupel.n_of_m(3, 4)).compress(weight).mask
    made = solve(method, weight, x, mask=mask)
    assert not (made.mask & ~mask).any() and (made.weight[~made.mask] == 0).all()
    if "2:4" in method:
        assert (made.mask.view(32, -1, 4).sum(2) == 2).all()
    elif method == "sparsegpt by matrix":
        assert zeros(made) == weight.numel() // 2


def test_two_of_four_then_gptq_keeps_every_group_and_every_zero():
    weight, x = layer(20, 96)
    made = solve("2:4, gptq", weight, x)
    first = solve("sparsegpt 2:4", weight, x)
    by_hand = solve("gptq", first.weight, x, mask=first.mask)
    assert torch.equal(made.mask, first.mask)
    assert not differing(made, by_hand)
    assert (made.mask.view(20, -1, 4).sum(2) == 2).all() and (made.weight[~made.mask] == 0).all()
    check_codes(made)
    actual = textbook.relative_error(weight, made.weight, x)  # against the weight of the start
    assert made.relative_error == pytest.approx(actual, rel=1e-4)
    assert made.relative_error > first.relative_error


def weights(model):
    state = model.state_dict()
    return {name: state[f"{name}.weight"].clone() for name in model.linear_names()}


@on({**GPTQ, **SPARSEGPT, "rtn": RTN["rtn"]})
def test_keep_zeros_when_compressing_again(tiny, tokens, method):
    first = tiny()
    cupel.compress(first, tokens, SPARSEGPT["sparsegpt 2:4"])
    before = weights(first)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}

    def revived(**options):
        model = cupel.make_model(json.dumps(TINY_CONFIG), state)  # one that remembers no masks
        cupel.compress(model, tokens, ALL[method], **options)
        return sum(int(((w != 0) & (before[n] == 0)).sum()) for n, w in weights(model).items())

    assert revived(keep_zeros=True) == 0
    if method in GPTQ:
        assert revived() > 0


def test_allocations_are_followed_in_every_layer(tiny, tokens):
    for sparsity, allocation in (
        (0.5, cupel.uniform(0.5)),
        (0.3, cupel.global_magnitude(0.3)),
        (0.6, cupel.owl(0.6)),
        (None, lambda shape: shape.rows * 3 + shape.block),
    ):
        for method in ("magnitude", "wanda", "sparsegpt", "sparsegpt by row"):
            model = tiny()
            result = cupel.compress(model, tokens, ALL[method], allocation=allocation)
            total = size = 0
            for name, weight in weights(model).items():
                plan = next(plan for plan in result.plan if plan["name"] == name)
                assert int((weight == 0).sum()) == plan["prune_count"]
                if sparsity is None:
                    assert plan["prune_count"] == 3 * len(weight) + int(name.split(".")[2])
                total, size = total + plan["prune_count"], size + weight.numel()
            if sparsity is not None:  # uniform and owl round down in each of the 14 layers
                assert int(sparsity * size) - 14 <= total <= int(sparsity * size)


class EveryThird(cupel.Compressor):
    """Prunes every third column."""

    name, needs = "every third", "none"

    def compress(self, task):
        mask = torch.ones_like(task.weight, dtype=torch.bool) if task.mask is None else task.mask
        mask = mask & (torch.arange(task.weight.shape[1]) % 3 > 0)
        made = cupel.LayerResult(task.weight * mask, mask)
        cupel.finish_result(task, made)
        return made


def test_a_compressor_of_ones_own_in_a_chain_and_in_overrides(tiny, tokens):
    weight, x = layer()
    made = cupel.Chain([EveryThird(), GPTQ["gptq"]]).compress(weight, stats_of(x))
    assert made.mask.any(0).tolist() == [column % 3 > 0 for column in range(64)]
    assert not differing(made, solve("gptq", weight * made.mask, x, mask=made.mask))
    last = cupel.Chain([cupel.SparseGpt(HALF), EveryThird()]).compress(weight, stats_of(x))
    assert not (last.mask & ~solve("sparsegpt", weight, x).mask).any()
    assert (last.weight[:, ::3] == 0).all() and last.sparsity > 0.6

    model, plain = tiny(), tiny()
    overrides = {"*.v_proj": [EveryThird(), RTN["rtn"]], "*.o_proj": None, "*.0.*": EveryThird()}
    result = cupel.compress(model, tokens, cupel.Prune("wanda", TWO_OF_FOUR), overrides=overrides)
    assert result.skipped == [name for name in plain.linear_names() if "o_proj" in name]
    for name, weight in weights(model).items():
        thirds = (weight[:, ::3] == 0).all()
        if "o_proj" in name:
            assert torch.equal(weight, weights(plain)[name])
        elif "v_proj" in name or ".0." in name:
            assert thirds
            levels = max(len(row.unique()) for row in weight)
            assert (levels <= 17) == ("v_proj" in name)
        else:
            assert not thirds and ((weight.view(len(weight), -1, 4) != 0).sum(2) == 2).all()
