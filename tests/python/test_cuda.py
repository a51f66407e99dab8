"""The solvers on a GPU: the same tensor operations, so the same results to rounding."""

import cupel
import pytest
import torch
from small_layers import ALL, layer

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device, or a torch without CUDA"
)


def stats_on(x, device):
    stats = cupel.InputStats(x.shape[1])
    for part in x.to(device).chunk(3):
        stats.add(part)
    return stats


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ALL)
def test_solvers(method, dtype):
    weight, x = layer(64, 256, 1024)
    weight = weight.to(dtype)
    here = ALL[method].compress(weight, stats_on(x, "cpu"))
    there = ALL[method].compress(weight.cuda(), stats_on(x, "cuda"))
    assert there.weight.is_cuda and there.weight.dtype == dtype
    assert there.relative_error == pytest.approx(here.relative_error, rel=0.02)
    if here.mask is not None:
        assert int(there.mask.sum()) == int(here.mask.sum())
        assert float((there.mask.cpu() == here.mask).float().mean()) > 0.999
    if here.codes is not None:
        step = (there.codes.cpu().int() - here.codes.int()).abs()
        assert float((step == 0).float().mean()) > 0.99


def test_a_model(tiny, tokens, tmp_path):
    cupel.save_model(tiny(), tmp_path / "dense")
    found = {}
    for device in ("cpu", "cuda"):
        model = cupel.load_model(tmp_path / "dense", device=device)
        result = cupel.compress(model, tokens, cupel.SparseGpt(cupel.n_of_m(2, 4)))
        found[device] = result.masks(), model.logits(tokens[:2]).cpu()
    for name, mask in found["cpu"][0].items():
        assert float((found["cuda"][0][name].cpu() == mask).float().mean()) > 0.99
    assert torch.allclose(found["cuda"][1], found["cpu"][1], atol=0.05)
