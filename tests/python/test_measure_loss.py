"""measure_loss=False skips the losses alone; layers that share an input share a factor, not a result."""

import cupel
import pytest
import torch
from small_layers import GPTQ, HALF, SPARSEGPT, layer, stats_of

GRID = cupel.Grid(group=16)


@pytest.mark.parametrize(
    "method", [GPTQ["gptq hessian"], SPARSEGPT["sparsegpt"], cupel.Prune("wanda", HALF)]
)
def test_a_layer_is_the_same_without_its_losses(method):
    weight, x = layer()
    with_losses = method.compress(weight, stats_of(x))
    without = method.compress(weight, stats_of(x), measure_loss=False)
    assert with_losses.loss > 0 and with_losses.relative_error > 0
    assert without.loss is None and without.relative_error is None
    assert torch.equal(without.weight, with_losses.weight)
    assert without.sweep_loss == with_losses.sweep_loss
    assert without.sparsity == with_losses.sparsity


def test_a_compressor_in_python_hears_of_it(tiny, tokens):
    heard = []

    class Half(cupel.Compressor):
        name = "half"

        def compress(self, task):
            heard.append(task.measure_loss)
            result = cupel.LayerResult(task.weight / 2)
            cupel.finish_result(task, result)
            return result

    for measure in (True, False):
        result = cupel.compress(tiny(), tokens, Half(), measure_loss=measure)
        assert all((one.loss is not None) == measure for one in result.layers)
        assert set(heard) == {measure}
        heard.clear()


@pytest.mark.parametrize("propagation", ["staged", "block"])
def test_layers_share_a_factor_only_where_its_options_agree(tiny, tokens, propagation):
    def weights(damping, overrides=()):
        model = tiny()
        method = cupel.Gptq(GRID, order="activation", damping=damping)
        only = [f"*layers.0.self_attn.{name}_proj" for name in "qkv"]
        cupel.compress(
            model, tokens, method, propagation=propagation, only=only, overrides=dict(overrides)
        )
        state = model.state_dict()
        return {name: state[f"model.layers.0.self_attn.{name}_proj.weight"] for name in "qkv"}

    little, much = weights(0.001), weights(0.5)
    # k comes between q and v, which have the same input.
    mixed = weights(0.001, {"*k_proj": cupel.Gptq(GRID, order="activation", damping=0.5)})
    assert not torch.equal(little["k"], much["k"])
    assert torch.equal(mixed["k"], much["k"])
    assert torch.equal(mixed["q"], little["q"]) and torch.equal(mixed["v"], little["v"])
