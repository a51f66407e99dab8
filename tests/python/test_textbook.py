"""The plain PyTorch oracle against what the published code made of seeded layers.

The layers are all of ../shared/golden/layer_*.safetensors (see the README there).
"""

from dataclasses import dataclass

import pytest
import textbook
import torch

# The published n:m counts zeros, but for 2:4 and 4:8 that is the same.
PATTERNS = {"": {}, "24": {"prune_n": 2, "prune_m": 4}, "48": {"prune_n": 4, "prune_m": 8}}
GPTQ = {
    "gptq": {},
    "gptq-sym": {"symmetric": True},
    "gptq-actorder": {"order": "activation"},
    "gptq-static": {"order": "activation", "static_groups": True},
}


@dataclass
class Golden:
    """One layer, what was asked of the published code, and what it made."""

    name: str
    tensors: dict
    metadata: dict

    def __getitem__(self, key):
        return self.tensors[key]

    def pattern(self, suffix):
        return PATTERNS[suffix] or {"sparsity": float(self.metadata["sparsity"])}

    @property
    def grid(self):
        return {"bits": int(self.metadata["bits"]), "group": int(self.metadata["groupsize"])}

    @property
    def sweep(self):
        percdamp, block = float(self.metadata["percdamp"]), int(self.metadata["blocksize"])
        return {"percdamp": percdamp, "block": block}


@pytest.fixture(scope="module")
def layers(shared_path):
    safetensors = pytest.importorskip("safetensors")
    found = []
    for path in sorted(shared_path("golden").glob("layer_*.safetensors")):
        with safetensors.safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            found.append(Golden(path.stem, tensors, file.metadata()))
    assert found, "no layer_*.safetensors in the folder of golden values"
    return found


def share_close(made, expected):
    """The share of entries that agree; rounding noise is far below one step of a grid."""
    return float(torch.isclose(made, expected, rtol=1e-4, atol=1e-6).double().mean())


def share_equal(made, expected):
    return float((made == expected).double().mean())


def check_grid(made, layer, method):
    # One grid for each row is stored without a dimension of groups.
    scales, zeros = (layer[f"{method}.{key}"].view_as(made.scales) for key in ("scales", "zeros"))
    assert torch.allclose(made.scales, scales, rtol=1e-5, atol=0), layer.name
    assert torch.allclose(made.zeros, zeros, rtol=1e-5, atol=0), layer.name


def test_hessian(layers):
    for layer in layers:
        made = textbook.hessian(layer["X"].split(int(layer.metadata["seqlen"])))
        assert (made - layer["H"]).abs().max() <= 1e-6 * layer["H"].abs().max(), layer.name


def test_rtn(layers):
    for layer in layers:
        made = textbook.rtn(layer["W"], **layer.grid)
        assert torch.equal(made.weight, layer["rtn.Wq"]), layer.name
        check_grid(made, layer, "rtn")


@pytest.mark.parametrize("method", GPTQ)
def test_gptq(layers, method):
    for layer in layers:
        made = textbook.gptq(layer["W"], layer["H"], **layer.grid, **layer.sweep, **GPTQ[method])
        assert share_close(made.weight, layer[f"{method}.Wq"]) >= 0.995, layer.name
        check_grid(made, layer, method)
        if f"{method}.perm" in layer.tensors:
            # Equal diagonals come in any order: the published sort is not stable.
            diagonal = layer["H"].diagonal()
            published = diagonal[layer[f"{method}.perm"]]
            assert torch.equal(diagonal[made.permutation], published), layer.name


@pytest.mark.parametrize("suffix", PATTERNS)
def test_sparsegpt(layers, suffix):
    for layer in layers:
        pattern, expected = layer.pattern(suffix), layer[f"sparsegpt{suffix}.Wq"]
        made = textbook.sparsegpt(layer["W"], layer["H"], **pattern, **layer.sweep)
        assert share_equal(made.mask, expected != 0) >= 0.999, layer.name
        assert share_close(made.weight, expected) >= 0.995, layer.name


def test_sparsegpt_with_quantization(layers):
    for layer in layers:
        bits, expected = layer.grid["bits"], layer["sparsegpt-q.Wq"]
        made = textbook.sparsegpt(
            layer["W"], layer["H"], **layer.pattern(""), bits=bits, **layer.sweep
        )
        # Weights that were kept may still be rounded to zero, so the masks cannot be compared.
        assert share_equal(made.weight != 0, expected != 0) >= 0.999, layer.name
        assert share_close(made.weight, expected) >= 0.995, layer.name
        check_grid(made, layer, "sparsegpt-q")


@pytest.mark.parametrize("suffix", PATTERNS)
def test_wanda(layers, suffix):
    for layer in layers:
        sq_norm = layer["X"].square().sum(0)
        mask = textbook.wanda_mask(layer["W"], sq_norm, **layer.pattern(suffix))
        assert share_equal(mask, layer[f"wanda{suffix}.mask"]) >= 0.999, layer.name
        assert share_equal(layer["W"] * mask, layer[f"wanda{suffix}.Wq"]) >= 0.999, layer.name


@pytest.mark.parametrize("suffix", ["", "24"])
def test_magnitude(layers, suffix):
    for layer in layers:
        mask = textbook.magnitude_mask(layer["W"], **layer.pattern(suffix))
        assert torch.equal(mask, layer[f"magnitude{suffix}.mask"]), layer.name
        assert torch.equal(layer["W"] * mask, layer[f"magnitude{suffix}.Wq"]), layer.name


@pytest.mark.parametrize(
    ("method", "line"),
    [("gptq", "gptq "), ("gptq-static", "gptq-static "), ("sparsegpt24", "sparsegpt24 ")],
)
def test_errors_and_losses(layers, shared_path, method, line):
    """The numbers that were printed: the relative error, and the loss as the method reports it."""
    for layer in layers:
        text = shared_path(f"golden/{layer.name}.txt").read_text().splitlines()
        printed = next(row for row in text if row.startswith(line)).split()
        if method == "sparsegpt24":
            made = textbook.sparsegpt(layer["W"], layer["H"], **layer.pattern("24"), **layer.sweep)
        else:
            made = textbook.gptq(
                layer["W"], layer["H"], **layer.grid, **layer.sweep, **GPTQ[method]
            )
        error = textbook.relative_error(layer["W"], made.weight, layer["X"])
        assert error == pytest.approx(float(printed[3]), rel=1e-2), layer.name
        assert made.loss == pytest.approx(float(printed[5]), rel=1e-3), layer.name


# --- what the golden values do not reach ----------------------------------------------------------


@pytest.fixture
def problem():
    """A layer with two dead inputs: W [24, 56], x [100, 56]."""
    generator = torch.Generator().manual_seed(7)
    mix = torch.randn(56, 56, generator=generator)
    x = torch.randn(100, 56, generator=generator) @ mix
    x[:, [3, 40]] = 0
    return torch.randn(24, 56, generator=generator), x


def test_inverse_factor(problem):
    H, _ = textbook.damped(textbook.hessian([problem[1]]), 0.01)
    U = textbook.inverse_factor(H).double()
    assert torch.equal(U, U.triu())
    assert torch.allclose(U.t() @ U @ H.double(), torch.eye(56).double(), atol=1e-3)


@pytest.mark.parametrize("rules", ["exact", "published"])
@pytest.mark.parametrize("options", [{"sparsity": 0.3}, {"prune_n": 3, "prune_m": 4}])
def test_loss_is_the_damped_quadratic_form(problem, options, rules):
    W, x = problem
    H = textbook.hessian([x])
    made = textbook.sparsegpt(W, H, block=16, rules=rules, **options)
    difference = (made.weight - W).double()
    if rules == "published":  # dead weights are zeroed before the sweep starts to count
        difference[:, [3, 40]] = 0
    H = textbook.damped(H, 0.01, rules)[0].double()
    assert made.loss == pytest.approx(float((difference @ H * difference).sum()) / 2, rel=1e-4)


@pytest.mark.parametrize("block", [16, 30, 128])
@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.5, 1.0])
def test_exact_counts(problem, sparsity, block):
    W, H = problem[0], textbook.hessian([problem[1]])
    options = {"sparsity": sparsity, "block": block, "rules": "exact"}
    assert (~textbook.sparsegpt(W, H, **options).mask).sum() == int(sparsity * W.numel())
    rows = (~textbook.sparsegpt(W, H, scope="row", **options).mask).sum(1)
    assert (rows == int(sparsity * 56)).all()
    masks = textbook.magnitude_mask(W, sparsity, rules="exact")
    assert (~masks).sum() == int(sparsity * W.numel())


def test_exact_dead_inputs(problem):
    W, H = problem[0], textbook.hessian([problem[1]])
    made = textbook.sparsegpt(W, H, 0.1, rules="exact")
    assert not made.mask[:, [3, 40]].any()
    made = textbook.sparsegpt(W, H, 0.0, rules="exact")
    assert torch.equal(made.weight, W)  # nothing asked, nothing done
    made = textbook.gptq(W, H, 4, 16, rules="exact")
    assert (made.weight[:, [3, 40]] == 0).all()


def test_ties():
    scores = torch.tensor([[2.0, 1.0, 1.0, 1.0, 3.0]])
    keep = [textbook.keep_all_but(scores, 2, ties).tolist() for ties in ("high", "low")]
    assert keep == [[[True, True, False, False, True]], [[True, False, False, True, True]]]
    assert textbook.keep_above_threshold(scores, 0.2).nonzero()[:, 1].tolist() == [0, 4]


def test_symmetric_grids_of_rows_without_negative_weights():
    row = torch.tensor([[0.0, 1.0, 3.0], [-3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    published, exact = (textbook.fit_grid(row, 4, True, rules=r)[0] for r in ("published", "exact"))
    assert published.tolist() == pytest.approx([3 / 15, 6 / 15, 2 / 15])
    assert exact.tolist() == pytest.approx([6 / 15, 6 / 15, 1])


@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_grids_are_never_worse(problem, symmetric):
    def error(mse):
        made = textbook.rtn(problem[0], 3, 0, symmetric, mse)
        return (made.weight - problem[0]).abs().pow(2.4).sum(1)

    assert (error(True) <= error(False) * (1 + 1e-6)).all()
    assert error(True).sum() < 0.95 * error(False).sum()
