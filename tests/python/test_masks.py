"""Masks keep weights at zero in a torch module that is trained further."""

import cupel
import pytest
import torch


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(6, 4)
        self.second = torch.nn.Linear(4, 2)


def half(module):
    return {
        name: torch.rand_like(getattr(module, name).weight) > 0.5 for name in ("first", "second")
    }


def test_zeros_stay_zero_through_training():
    module = Module()
    masks = half(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        module.second(module.first(torch.randn(5, 6))).square().sum().backward()
        optimizer.step()
        cupel.apply_masks_(module, masks)
    for name, mask in masks.items():
        weight = getattr(module, name).weight
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != 0).all()
        assert weight.requires_grad


def test_a_diverged_weight_becomes_zero_and_not_nan():
    module = Module()
    module.first.weight.data[0, 0] = float("nan")
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[0, 0] = False
    cupel.apply_masks_(module, {"first": mask})
    assert module.first.weight[0, 0] == 0


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("third", torch.ones(2, 4, dtype=torch.bool), "no parameter third.weight"),
        ("second", torch.ones(4, 2, dtype=torch.bool), r"\[2, 4\].*\[4, 2\] in second"),
        ("second", torch.ones(2, 4), "bool.*in second"),
    ],
)
def test_a_mask_that_does_not_fit_changes_nothing(name, mask, message):
    module = Module()
    before = module.first.weight.clone()
    masks = {"first": torch.zeros(4, 6, dtype=torch.bool), name: mask}
    with pytest.raises(ValueError, match=message):
        cupel.apply_masks_(module, masks)
    assert torch.equal(module.first.weight, before)


def test_masks_of_a_result_fit_the_transformers_model(tiny, tokens, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = tiny()
    cupel.save_model(model, tmp_path / "dense")
    result = cupel.compress(model, tokens, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "dense")
    cupel.apply_masks_(theirs, result.masks())
    ours = model.state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours[name]), name


def test_methods_without_masks_say_so(tiny):
    result = cupel.compress(tiny(), None, cupel.Rtn(cupel.Grid(bits=4)))
    with pytest.raises(ValueError, match="no masks"):
        result.masks()
