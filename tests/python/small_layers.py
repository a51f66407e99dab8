"""Seeded layers for the tests, every method under a name, and what must hold of any result."""

import math

import cupel
import pytest
import torch

HALF, TWO_OF_FOUR = cupel.unstructured(0.5), cupel.n_of_m(2, 4)
PLAIN_PRUNE = {
    f"{criterion}{name}": cupel.Prune(criterion, pattern)
    for criterion in ("magnitude", "wanda", "ria")
    for name, pattern in (("", HALF), (" 2:4", TWO_OF_FOUR))
}
SPARSEGPT = {
    "sparsegpt": cupel.SparseGpt(HALF),
    "sparsegpt by row": cupel.SparseGpt(cupel.row_wise(0.5), block=24),
    "sparsegpt by matrix": cupel.SparseGpt(cupel.matrix_wise(0.5)),
    "sparsegpt 2:4": cupel.SparseGpt(TWO_OF_FOUR, block=24),
    "sparsegpt by wanda": cupel.SparseGpt(HALF, saliency="wanda", selection="dense"),
}
PRUNE = {**PLAIN_PRUNE, **SPARSEGPT}
RTN = {
    "rtn": cupel.Rtn(cupel.Grid()),
    "rtn group": cupel.Rtn(cupel.Grid(group=24, symmetric=True)),
    "rtn mse": cupel.Rtn(cupel.Grid(bits=3, clip="mse")),
}
GPTQ = {
    "gptq": cupel.Gptq(cupel.Grid(), block=24),
    "gptq group": cupel.Gptq(cupel.Grid(group=24, symmetric=True)),
    "gptq act-order": cupel.Gptq(cupel.Grid(group=24), order="activation"),
    "gptq static": cupel.Gptq(cupel.Grid(group=24), order="activation", static_groups=True),
    "gptq mse": cupel.Gptq(cupel.Grid(bits=3, group=24, clip="mse")),
    "gptq hessian": cupel.Gptq(cupel.Grid(bits=3, clip="hessian")),
}
QUANTIZE = {**RTN, **GPTQ}
JOINT = {
    "sparsegpt 4 bit": cupel.SparseGpt(HALF, grid=cupel.Grid()),
    "2:4, gptq": cupel.Chain([SPARSEGPT["sparsegpt 2:4"], GPTQ["gptq"]]),
}
# Those that factor a Hessian, and all.
SWEEPS = {**SPARSEGPT, **GPTQ, **JOINT}
ALL = {**PLAIN_PRUNE, **RTN, **SWEEPS}


def on(methods):
    return pytest.mark.parametrize("method", list(methods))


def layer(rows=32, columns=64, tokens=200, seed=0, correlated=True):
    """(weight [rows, columns], inputs [tokens, columns])"""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    x = randn(tokens, columns)
    if correlated:
        x = x @ (randn(columns, columns) * torch.arange(1.0, columns + 1) ** -0.5)
    return randn(rows, columns) * columns**-0.5, x


def stats_of(x):
    stats = cupel.InputStats(x.shape[-1])
    stats.add(x)
    return stats


def zeros(made):
    return int((made.weight == 0).sum())


def check_sound(made):
    """Finite in all that it says, codes within the grid, and half of it gone where half was to go."""
    assert made.weight.isfinite().all()
    numbers = (made.loss, made.relative_error, made.sweep_loss, made.damping)
    assert all(math.isfinite(n) and n >= 0 for n in numbers if n is not None)
    if made.mask is not None:
        assert int((~made.mask).sum()) == made.mask.numel() // 2
        assert (made.weight[~made.mask] == 0).all()
    if made.scales is not None:
        assert made.scales.isfinite().all() and (made.scales > 0).all()
        assert int(made.zeros.min()) >= 0
        assert max(int(made.zeros.max()), int(made.codes.max())) < 2**made.bits


def check_codes(made):
    """Codes, scales and zeros make the weight, bit for bit."""
    index = made.group_index.long()
    restored = (made.codes.float() - made.zeros[:, index]) * made.scales[:, index]
    assert torch.equal(restored.to(made.weight.dtype), made.weight)
    assert int(made.codes.max()) < 2**made.bits


def differing(made, expected, weight_factor=1):
    """The fields in which two results differ, expected's weights and scales times a factor."""
    fields = []
    for field in ("mask", "codes", "zeros", "group_index", "permutation", "weight", "scales"):
        one, other = getattr(made, field), getattr(expected, field)
        if one is None and other is None:
            continue
        if field in ("weight", "scales"):
            other = other * weight_factor
        if not torch.equal(one, other):
            fields.append(field)
    return fields
