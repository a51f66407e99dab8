"""Every solver against textbook.py, on seeded layers made here."""

import functools
from dataclasses import dataclass

import cupel
import pytest
import textbook
import torch
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass
class Problem:
    weight: torch.Tensor
    sequences: list  # of x [tokens, in]
    dead: torch.Tensor  # [in] bool

    @property
    def x(self):
        return torch.cat(self.sequences)

    @property
    def hessian(self):
        return textbook.hessian(self.sequences)

    @property
    def stats(self):
        stats = cupel.InputStats(self.weight.shape[1])
        for x in self.sequences:
            stats.add(x)
        return stats


@functools.cache
def make(rows, columns, kind, dead=0, tokens=None, seed=0):
    """A layer: inputs of uneven size, correlated ("corr") or not ("iid"), `dead` of them zero."""
    generator = torch.Generator().manual_seed(1000 * rows + columns + seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    tokens = tokens or 3 * columns + 11
    x = randn(tokens, columns)
    if kind == "corr":
        fading = torch.arange(1.0, columns + 1) ** -0.5
        x = (x * fading) @ randn(columns, columns) + 0.3 * randn(tokens, columns)
    x = x * torch.exp(0.4 * randn(columns))
    gone = torch.zeros(columns, dtype=torch.bool)
    gone[torch.randperm(columns, generator=generator)[:dead]] = True
    x[:, gone] = 0
    weight = randn(rows, columns) * columns**-0.5
    weight[1] = weight[1].abs()  # where published symmetric grids differ
    cut = tokens // 3
    return Problem(weight, [x[:cut], x[cut:]], gone)


# What divides and what does not; with and without dead inputs.
LAYERS = {
    "48x192": make(48, 192, "corr"),
    "48x192 iid": make(48, 192, "iid"),
    "33x100": make(33, 100, "corr"),
    "33x100 dead": make(33, 100, "iid", dead=7),
    "16x64 dead": make(16, 64, "corr", dead=3),
    "20x260": make(20, 260, "corr"),
    "20x260 dead": make(20, 260, "iid", dead=20),
}
RULES = pytest.mark.parametrize("rules", ["exact", "published"])


def on_layers(cases):
    """Parametrizes over options, dictionaries in the textbook's words, on all layers they fit."""
    pairs = [
        pytest.param(layer, options, id=",".join([layer, *(f"{k}={options[k]}" for k in options)]))
        for layer, problem in LAYERS.items()
        for options in cases
        if problem.weight.shape[1] % options.get("prune_m", 1) == 0
    ]
    return pytest.mark.parametrize(("layer", "options"), pairs)


def pattern_of(options):
    """The textbook's prune_n counts zeros."""
    if "prune_n" in options:
        n, m = options["prune_n"], options["prune_m"]
        return cupel.n_of_m(m - n, m)
    by_row = options.get("scope") == "row"
    return (cupel.row_wise if by_row else cupel.unstructured)(options["sparsity"])


def grid_of(options):
    known = {key: options[key] for key in ("bits", "group", "symmetric") if key in options}
    return cupel.Grid(**known, clip="mse" if options.get("mse") else "min_max")


def sweep_of(options):
    known = {key: options[key] for key in ("block", "order", "static_groups") if key in options}
    return {**known, "damping": options.get("percdamp", 0.01)}


# --- how outcomes are compared --------------------------------------------------------------------


def rows_that_agree(made, expected, scales=1e-5):
    near = 1e-4 * float(expected.weight.abs().mean())
    rows = torch.isclose(made.weight, expected.weight, rtol=1e-4, atol=near).all(1)
    if expected.mask is not None:
        rows &= (made.mask == expected.mask).all(1)
    if expected.scales is not None:
        rows &= torch.isclose(made.scales, expected.scales, rtol=scales, atol=0).all(1)
        rows &= (made.zeros == expected.zeros).all(1)
    return rows


def check_rows(problem, made, solve):
    """Every row is as solve(H) makes it, but for a few on which a weight lies so near the middle
    between two values of its grid, or a score so near another one, that rounding decides: there
    the textbook too changes its mind when H moves by as much as rounding moves it."""
    H = problem.hessian
    expected = solve(H)
    differing = ~rows_that_agree(made, expected)
    assert int(differing.sum()) <= len(differing) / 4
    generator = torch.Generator().manual_seed(0)
    size = 1e-6 * torch.outer(H.diagonal(), H.diagonal()).sqrt()
    for _ in range(24):
        if not differing.any():
            break
        noise = torch.randn(H.shape, generator=generator).triu()
        moved = solve(H + (noise + noise.triu(1).t()) * size)
        differing &= rows_that_agree(moved, expected, scales=1e-3)
    assert not differing.any(), f"rows {differing.nonzero().flatten().tolist()} differ"
    return expected


def check_numbers(problem, made, expected, rules):
    """The relative error and the loss: as they should be reported, and as good as the textbook's.
    Returns the relative error."""
    actual = textbook.relative_error(problem.weight, made.weight, problem.x)
    assert made.relative_error == pytest.approx(actual, rel=1e-3)
    error = textbook.relative_error(problem.weight, expected.weight, problem.x)
    # A row on which rounding decided can come out better or worse.
    near = 1e-2 + 0.5 * float((~rows_that_agree(made, expected)).double().mean())
    assert actual == pytest.approx(error, rel=near)
    if expected.loss is not None:
        # H is 2/N over the N sequences by the published rules, 2/tokens by the exact ones.
        per_token = len(problem.sequences) / len(problem.x) if rules == "exact" else 1
        assert made.sweep_loss == pytest.approx(expected.loss * per_token, rel=near)
    return actual


def check_codes(made, bits):
    assert made.codes.dtype == torch.uint8 and made.zeros.dtype == torch.int32
    assert int(made.codes.max()) < 2**bits
    group = made.group_index.long()
    restored = (made.codes - made.zeros[:, group]) * made.scales[:, group]
    assert torch.equal(restored, made.weight)


# --- methods without a sweep ----------------------------------------------------------------------

PATTERNS = [{"sparsity": 0.5}, {"sparsity": 0.37}, *({"prune_n": n, "prune_m": 4} for n in (2, 3))]


@RULES
@pytest.mark.parametrize("layer", ["48x192", "33x100", "20x260"])
@pytest.mark.parametrize("mse", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("bits", "group"), [(4, 0), (4, 32), (3, 64), (2, 100), (8, 128)])
def test_rtn(layer, bits, group, symmetric, mse, rules):
    weight = LAYERS[layer].weight.clone()
    weight[2] = 0
    options = {"bits": bits, "group": group, "symmetric": symmetric, "mse": mse}
    made = cupel.Rtn(grid_of(options), rules=rules).compress(weight)
    expected = textbook.rtn(weight, **options, rules=rules)
    check_codes(made, bits)
    assert torch.equal(made.group_index.long(), expected.group_index)
    assert rows_that_agree(made, expected).all()


@RULES
@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "ria"])
@on_layers(PATTERNS)
def test_prune(layer, criterion, options, rules):
    problem = LAYERS[layer]
    weight, sq_norm = problem.weight, problem.x.square().sum(0)
    made = cupel.Prune(criterion, pattern_of(options), rules=rules).compress(weight, problem.stats)
    if criterion == "magnitude":
        mask = textbook.magnitude_mask(weight, **options, rules=rules)
        assert torch.equal(made.mask, mask)
    elif criterion == "wanda":
        mask = textbook.wanda_mask(weight, sq_norm, **options, rules=rules)
    else:
        mask = textbook.row_mask(textbook.ria_scores(weight, sq_norm), **options, rules=rules)
    assert float((made.mask == mask).double().mean()) >= 0.999
    assert torch.equal(made.weight, weight * made.mask)
    check_numbers(problem, made, textbook.Layer(weight * mask), rules)


# --- GPTQ -----------------------------------------------------------------------------------------

GPTQ = [
    {},
    {"group": 32},
    {"group": 64, "block": 48},
    {"group": 100, "block": 32},
    {"group": 100},
    {"group": 128, "bits": 3},
    {"group": 48, "block": 32, "bits": 2},
    {"symmetric": True},
    {"group": 64, "symmetric": True, "block": 32},
    {"order": "activation"},
    {"order": "activation", "group": 32, "block": 48},
    {"order": "activation", "group": 64, "static_groups": True},
    {"order": "activation", "group": 100, "static_groups": True, "block": 32},
    {"group": 32, "static_groups": True},
    {"group": 64, "mse": True, "bits": 3},
    {"mse": True, "symmetric": True, "order": "activation"},
    {"group": 64, "percdamp": 0.1},
    {"group": 64, "block": 1},
]


def gptq(problem, options, rules="exact"):
    solver = cupel.Gptq(grid_of(options), **sweep_of(options), rules=rules)
    return solver.compress(problem.weight, problem.stats, name="q")


@on_layers(GPTQ)
def test_gptq(layer, options):
    problem, options = LAYERS[layer], {"bits": 4, **options}
    alive, error = ~problem.dead, {}
    for rules in ("exact", "published"):
        made = gptq(problem, options, rules)
        solve = functools.partial(textbook.gptq, problem.weight, rules=rules, **options)
        expected = check_rows(problem, made, solve)
        check_codes(made, options["bits"])
        error[rules] = check_numbers(problem, made, expected, rules)
        assert (made.weight[:, problem.dead] == 0).all()
        assert made.dead_columns == int(problem.dead.sum())
        assert made.damping == options.get("percdamp", 0.01) and not made.rungs
        # Dead inputs are alike to the order by activation, so they may change places.
        assert torch.equal(made.group_index.long()[alive], expected.group_index[alive])
        if "order" in options:
            orders = made.permutation, expected.permutation
            assert torch.equal(*(order[alive[order]] for order in orders))
            assert torch.equal(made.permutation.sort().values, torch.arange(len(alive)))
    assert error["exact"] <= error["published"] * 1.01


# --- SparseGPT ------------------------------------------------------------------------------------

SPARSEGPT = [
    {"sparsity": 0.5},
    {"sparsity": 0.5, "block": 32},
    {"sparsity": 0.5, "block": 48, "percdamp": 0.1},
    {"sparsity": 0.77},
    {"sparsity": 0.1, "block": 48},
    {"prune_n": 2, "prune_m": 4},
    *({"prune_n": n, "prune_m": 4, "block": b} for n, b in ((2, 32), (3, 48), (1, 128))),
    {"prune_n": 4, "prune_m": 8},
    {"sparsity": 0.5, "bits": 4},
    {"sparsity": 0.3, "bits": 4, "symmetric": True, "block": 32},
    {"prune_n": 2, "prune_m": 4, "bits": 4},
]
BY_ROW = [{"sparsity": s, "scope": "row", "block": b} for s in (0.5, 0.33) for b in (128, 48)]
# By the exact rules, blocks shrink until m divides them; the published ones then break groups.
CUT = [{"prune_n": 2, "prune_m": 4, "block": 30}, {"prune_n": 1, "prune_m": 4, "block": 3}]


def sparsegpt(problem, options, rules="exact"):
    grid = grid_of(options) if "bits" in options else None
    solver = cupel.SparseGpt(pattern_of(options), **sweep_of(options), grid=grid, rules=rules)
    return solver.compress(problem.weight, problem.stats, name="q")


def check_sparsegpt(problem, options, rules):
    made = sparsegpt(problem, options, rules)
    solve = functools.partial(textbook.sparsegpt, problem.weight, rules=rules, **options)
    expected = check_rows(problem, made, solve)
    assert (made.weight[~made.mask] == 0).all()
    if "bits" in options:
        check_codes(made, options["bits"])
    return ~made.mask, check_numbers(problem, made, expected, rules)


@on_layers(SPARSEGPT + BY_ROW + CUT)
def test_sparsegpt(layer, options):
    pruned, error = check_sparsegpt(LAYERS[layer], options, "exact")
    if "prune_n" in options:
        assert (pruned.view(-1, options["prune_m"]).sum(1) == options["prune_n"]).all()
    elif "scope" in options:
        assert (pruned.sum(1) == int(options["sparsity"] * pruned.shape[1])).all()
    else:
        assert pruned.sum() == int(options["sparsity"] * pruned.numel())
    if options in SPARSEGPT:
        assert error <= check_sparsegpt(LAYERS[layer], options, "published")[1] * 1.01


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
@on_layers(PATTERNS[2:])
def test_sparsegpt_with_the_mask_of_the_dense_weights(layer, criterion, options):
    """The mask is the criterion's own; what is kept then makes up for what is not."""
    problem, pattern = LAYERS[layer], pattern_of(options)
    solver = cupel.SparseGpt(pattern, saliency=criterion, selection="dense")
    made = solver.compress(problem.weight, problem.stats)
    plain = cupel.Prune(criterion, pattern).compress(problem.weight, problem.stats)
    assert torch.equal(made.mask, plain.mask)
    assert made.relative_error < plain.relative_error


@on_layers([{"sparsity": 0.0}, {"sparsity": 1.0}])
def test_sparsegpt_of_nothing_and_of_everything(layer, options):
    problem, kept = LAYERS[layer], options["sparsity"] == 0
    made = sparsegpt(problem, options)
    assert torch.equal(made.weight, problem.weight * kept)
    assert (made.mask == kept).all()


# --- what holds for any options -------------------------------------------------------------------

PROBLEMS = st.builds(
    make,
    rows=st.integers(3, 40),
    columns=st.sampled_from([16, 40, 64, 100, 136]),
    kind=st.sampled_from(["iid", "corr"]),
    dead=st.integers(0, 5),
    tokens=st.integers(24, 300),  # also fewer than columns: only damping makes H invertible then
    seed=st.integers(0, 3),
)
SWEEPS = {
    "damping": st.sampled_from([0.01, 0.03, 0.1]),
    "block": st.sampled_from([1, 8, 31, 32, 48, 128]),
}
GRIDS = st.builds(
    cupel.Grid,
    bits=st.integers(2, 8),
    group=st.sampled_from([0, 16, 32, 100]),
    symmetric=st.booleans(),
    clip=st.sampled_from(["min_max", "mse", "hessian"]),
)
ANY_PATTERN = st.one_of(
    st.builds(cupel.unstructured, st.sampled_from([0.0, 0.25, 0.5, 0.9])),
    st.builds(cupel.row_wise, st.sampled_from([0.3, 0.5])),
    st.builds(cupel.n_of_m, st.integers(1, 3), st.just(4)),
)
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def check_loss(problem, made):
    """The sweep's loss is 1/2 tr(dW H dW^T) with the damped H."""
    H = problem.stats.hessian().double()
    H.diagonal().add_(made.damping * H.diagonal().mean())
    difference = (made.weight - problem.weight).double()
    expected = float((difference @ H * difference).sum()) / 2
    assert made.sweep_loss == pytest.approx(expected, rel=1e-4, abs=1e-9)


@PROPERTY
@given(
    problem=PROBLEMS,
    grid=GRIDS,
    order=st.sampled_from(["none", "activation"]),
    static_groups=st.booleans(),
    sweep=st.fixed_dictionaries(SWEEPS),
)
def test_gptq_loss(problem, grid, order, static_groups, sweep):
    solver = cupel.Gptq(grid, order=order, static_groups=static_groups, **sweep)
    made = solver.compress(problem.weight, problem.stats)
    check_loss(problem, made)
    check_codes(made, grid.bits)


@PROPERTY
@given(
    problem=PROBLEMS,
    pattern=ANY_PATTERN,
    grid=st.one_of(st.none(), GRIDS),
    saliency=st.sampled_from(["obs", "wanda", "magnitude"]),
    selection=st.sampled_from(["block", "dense"]),
    sweep=st.fixed_dictionaries(SWEEPS),
)
def test_sparsegpt_loss(problem, pattern, grid, saliency, selection, sweep):
    solver = cupel.SparseGpt(pattern, grid=grid, saliency=saliency, selection=selection, **sweep)
    made = solver.compress(problem.weight, problem.stats)
    check_loss(problem, made)
    assert (made.weight[~made.mask] == 0).all()
    if pattern.m:
        assert (made.mask.view(-1, pattern.m).sum(1) == pattern.n).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_solving_twice_gives_the_same_bytes(layer):
    problem, before = LAYERS[layer], LAYERS[layer].weight.clone()
    for solve, options in ((gptq, {"group": 32}), (sparsegpt, {"sparsity": 0.5})):
        first, second = (solve(problem, options) for _ in range(2))
        assert torch.equal(first.weight, second.weight)
        assert first.sweep_loss == second.sweep_loss
    assert torch.equal(problem.weight, before)  # what was given is left alone
