"""The same bytes for any number of threads."""

import functools
import hashlib
from contextlib import contextmanager

import cupel
import pytest
import torch
from small_layers import GPTQ, HALF, SPARSEGPT, TWO_OF_FOUR, layer, stats_of

# Below, across and far above the tiles of 128 and 256 that work is dealt out in.
SHAPES = {64: 128, 192: 96, 1000: 64, 4096: 32}  # columns: rows
GRID = cupel.Grid(group=64)
METHODS = {
    "magnitude": cupel.Prune("magnitude", HALF),
    "wanda": cupel.Prune("wanda", HALF),
    "ria 2:4": cupel.Prune("ria", TWO_OF_FOUR),
    "sparsegpt": SPARSEGPT["sparsegpt"],
    "sparsegpt 2:4": cupel.SparseGpt(TWO_OF_FOUR),
    "sparsegpt with a grid": cupel.SparseGpt(HALF, grid=GRID),
    "rtn": cupel.Rtn(GRID),
    "gptq": cupel.Gptq(GRID),
    "gptq act-order": cupel.Gptq(GRID, order="activation"),
}
NARROW = {  # slow on the widest layer
    "rtn mse": cupel.Rtn(cupel.Grid(group=64, clip="mse")),
    "gptq static": cupel.Gptq(GRID, order="activation", static_groups=True),
    "gptq hessian": GPTQ["gptq hessian"],
    "gptq with little damping": cupel.Gptq(GRID, damping=1e-6),  # float64 at 1,000 columns
}


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def digest(tensor):
    data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()


def everything(made):
    """All that a result says but the time it took."""
    said = {name: getattr(made, name) for name in dir(made) if name[0] != "_" and name != "seconds"}
    return {
        name: digest(value) if isinstance(value, torch.Tensor) else value
        for name, value in said.items()
        if not callable(value)
    }


@functools.cache
def problem(columns):
    return layer(SHAPES[columns], columns, tokens=600)


@functools.cache
def statistics(columns, count):
    with threads(count):
        return stats_of(problem(columns)[1])


CASES = [(columns, method) for columns in SHAPES for method in METHODS]
CASES += [(columns, method) for columns in (192, 1000) for method in NARROW]


@pytest.mark.parametrize("columns", SHAPES)
def test_statistics(columns):
    for part in ("gram", "hessian", "sq_norm", "sum"):
        one, two = (digest(getattr(statistics(columns, count), part)()) for count in (1, 2))
        assert one == two, part


@pytest.mark.parametrize(("columns", "method"), CASES)
def test_results(columns, method):
    solver = {**METHODS, **NARROW}[method]
    made = []
    for count in (1, 2):
        with threads(count):
            # Of statistics that one thread summed, so that each step is held to it by itself.
            result = solver.compress(problem(columns)[0], statistics(columns, 1))
        made.append(everything(result))
        assert result.relative_error > 0 and result.loss > 0
    assert made[0].keys() >= {"weight", "mask", "codes", "scales", "loss", "relative_error"}
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "compressor",
    [
        cupel.SparseGpt(HALF),
        cupel.Gptq(cupel.Grid(group=16), order="activation"),
        cupel.Chain([cupel.SparseGpt(TWO_OF_FOUR), cupel.Gptq(cupel.Grid())]),
    ],
    ids=lambda compressor: compressor.name,
)
@pytest.mark.parametrize("propagation", ["staged", "block", "dense"])
def test_a_whole_model(tiny, tokens, compressor, propagation):
    prints, losses = set(), set()
    for count in (1, 2):
        model = tiny()
        with threads(count):
            result = cupel.compress(model, tokens, compressor, propagation=propagation)
        prints.add(model.fingerprint())
        losses.add(tuple(one.loss for one in result.layers))
    assert len(prints) == 1 and len(losses) == 1
    assert prints != {tiny().fingerprint()}
