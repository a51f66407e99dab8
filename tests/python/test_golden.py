"""Against what the published code makes of seeded layers (../shared/golden, see its README)."""

import cupel
import pytest
import torch

LAYERS = [
    "layer_corr_48x192_s5_dead0_g64",
    "layer_corr_96x256_s0_dead0_g128",
    "layer_iid_64x256_s3_dead4_g128",
]


@pytest.fixture(params=LAYERS)
def layer(request, shared_path):
    path = shared_path(f"golden/{request.param}.safetensors")
    tensors = cupel.read_safetensors(path)
    tensors["group"] = int(request.param.rsplit("_g", 1)[1])
    return tensors


@pytest.fixture
def stats(layer):
    made = cupel.InputStats(layer["W"].shape[1])
    half = layer["X"].shape[0] // 2
    for part in layer["X"].split(half):
        made.add(part)
    return made


def test_statistics(layer, stats):
    hessian = stats.gram().double() * 2 / 2  # 2/N over the N = 2 sequences
    expected = layer["H"].double()
    assert float((hessian - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    # Wanda's statistic is a mean over sequences; the order of columns is all that matters.
    ratio = stats.sq_norm() / layer["wanda.scaler_row"]
    alive = layer["wanda.scaler_row"] > 0
    assert torch.allclose(ratio[alive], ratio[alive][0], rtol=1e-5)


def test_magnitude_published(layer):
    prune = cupel.Prune("magnitude", cupel.unstructured(0.5), rules="published")
    made = prune.compress(layer["W"])
    assert torch.equal(made.mask, layer["magnitude.mask"])
    assert torch.equal(made.weight, layer["magnitude.Wq"])


def test_magnitude_exact_differs_by_the_weight_too_many(layer):
    made = cupel.Prune("magnitude", cupel.unstructured(0.5)).compress(layer["W"])
    assert (made.weight == 0).sum() == layer["W"].numel() // 2
    extra = made.mask & ~layer["magnitude.mask"]
    assert extra.sum() == 1 and not (~made.mask & layer["magnitude.mask"]).any()


@pytest.mark.parametrize("rules", ["published", "exact"])
def test_wanda(layer, stats, rules):
    made = cupel.Prune("wanda", cupel.unstructured(0.5), rules=rules).compress(layer["W"], stats)
    assert torch.equal(made.mask, layer["wanda.mask"])
    assert torch.equal(made.weight, layer["wanda.Wq"])


@pytest.mark.parametrize("rules", ["published", "exact"])
@pytest.mark.parametrize(
    ("name", "criterion", "n", "m"),
    [("magnitude24", "magnitude", 2, 4), ("wanda24", "wanda", 2, 4), ("wanda48", "wanda", 4, 8)],
)
def test_n_of_m(layer, stats, name, criterion, n, m, rules):
    made = cupel.Prune(criterion, cupel.n_of_m(n, m), rules=rules).compress(layer["W"], stats)
    assert torch.equal(made.mask, layer[f"{name}.mask"])
    assert torch.equal(made.weight, layer[f"{name}.Wq"])


def test_rtn(layer):
    grid = cupel.Grid(bits=4, group=layer["group"])
    made = cupel.Rtn(grid, rules="published").compress(layer["W"])
    assert torch.allclose(made.scales, layer["rtn.scales"], rtol=1e-6, atol=0)
    assert torch.equal(made.zeros.float(), layer["rtn.zeros"].float())
    assert torch.allclose(made.weight, layer["rtn.Wq"], rtol=1e-6, atol=1e-7)
