"""Which layers of a transformers model are compressed, with what, and what happens when it stops."""

import json
import subprocess
import sys

import cupel
import pytest
import torch
from huggingface_models import (
    HALF,
    SMALL,
    WAYS,
    Block,
    Blocks,
    Witness,
    compress,
    copy,
    gather,
    hooks,
    make,
    same,
    transformers,
    weight,
)

# What is compressed, and what is not


def test_conv1d_is_compressed_by_its_outputs(tokens):
    model = make("gpt2")
    name = "transformer.h.0.attn.c_attn"
    dense = model.get_submodule(name).weight.detach().T.clone()
    stats = cupel.InputStats(32)
    stats.add(gather(model, name, tokens))
    expected = HALF.compress(dense, stats)
    result = compress(model, tokens, HALF)
    assert torch.equal(model.get_submodule(name).weight, expected.weight.T)
    assert torch.equal(result.layers[0].mask, expected.mask)
    assert result.masks()[name].shape == (32, 96)
    before = copy(model)
    cupel.apply_masks_(model, result.masks())
    assert same(model, before)
    with torch.no_grad():
        model.get_submodule(name).weight.fill_(1)
    cupel.apply_masks_(model, result.masks())
    assert torch.equal(model.get_submodule(name).weight.T == 1, expected.mask)


def test_masks_of_experts_are_those_of_their_parameter(tokens):
    model = make("gpt_oss")
    result = compress(model, tokens, HALF, skip=["*.0.*down_proj[2]"])
    masks = result.masks()
    stack = model.model.layers[0].mlp.experts.down_proj
    mask = masks["model.layers.0.mlp.experts.down_proj"]
    assert torch.equal(mask, (stack != 0)) and mask[2].all() and not mask[1].all()


class Own(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def test_linears_with_a_forward_of_their_own_are_left_alone(tokens):
    model = Blocks(Block(), Block(Own))
    model.layers[0].up = torch.nn.utils.parametrizations.weight_norm(model.layers[0].up)
    model.layers[1].matrix = torch.nn.Parameter(torch.ones(2, 3))
    before = copy(model)
    result = compress(model, tokens, HALF)
    assert [layer.name for layer in result.layers] == ["layers.0.down", "layers.1.down"]
    assert "parametrized" in result.skipped["layers.0.up"]
    assert result.skipped["layers.1.up"] == "a Own with a forward of its own"
    assert result.skipped["layers.1.matrix"] == "a 2-D parameter of a Block, not an nn.Linear"
    changed = {name for name, tensor in model.state_dict().items() if tensor.ne(before[name]).any()}
    assert changed == {"layers.0.down.weight", "layers.1.down.weight"}


def test_adapters_are_left_alone(tokens):
    class Adapter(torch.nn.Module):  # as in peft
        def __init__(self, *_):
            super().__init__()
            self.base_layer, self.lora = torch.nn.Linear(16, 24), torch.nn.Linear(16, 24)

        def forward(self, x):
            return self.base_layer(x) + self.lora(x)

    result = compress(Blocks(Block(Adapter)), tokens, HALF)
    assert result.skipped == {"layers.0.up.lora": "part of an adapter; merge it first"}
    assert [layer.name for layer in result.layers] == ["layers.0.up.base_layer", "layers.0.down"]


def test_everything_outside_of_the_blocks_is_named(tokens):
    result = compress(make("opt"), tokens, HALF)
    around = {"lm_head", "model.decoder.project_in", "model.decoder.project_out"}
    assert result.skipped == dict.fromkeys(around, "outside of the blocks")
    with pytest.raises(ValueError, match=r"\[only\] 'lm_head'.*outside of the blocks"):
        compress(make("opt"), tokens, HALF, only=["lm_head"])


def test_a_weight_that_is_used_without_its_module_is_left_alone(tokens):
    class Direct(Block):
        def forward(self, hidden):
            return hidden + (self.up.weight @ hidden.mT).mT @ self.up.weight

    result = compress(Blocks(Direct(), Block()), tokens, HALF, skip=["layers.0.down"])
    assert result.skipped["layers.0.up"] == "its weight is used without calling the module"
    assert len(result.layers) == 2


# Weights with several uses


@WAYS
def test_tied_weights_are_compressed_once_on_all_their_inputs(propagation, tokens):
    torch.manual_seed(0)
    model = Blocks(Block(), Block(), Block(), heads=torch.nn.Linear(16, 96, bias=False))
    model.layers[2].up.weight = model.layers[0].up.weight
    model.layers[1].down = torch.nn.Linear(96, 16)
    model.layers[1].up = torch.nn.Linear(16, 96, bias=False)
    model.layers[1].up.weight = model.head.weight
    inputs = [gather(model, name, tokens) for name in ("layers.0.up", "layers.2.up")]
    stats = cupel.InputStats(16)
    stats.add(torch.cat(inputs))
    expected = HALF.compress(model.layers[0].up.weight.detach(), stats)
    result = compress(model, tokens, HALF, propagation=propagation)
    assert model.layers[2].up.weight is model.layers[0].up.weight
    assert torch.equal(model.layers[0].up.weight, expected.weight)
    assert result.skipped["layers.1.up"] == "its weight is that of head.weight"
    first = result.layers[0]
    assert len(result.layers) == 4 and first.tokens == 2 * tokens.numel()
    assert "shares its weight with layers.2.up" in first.notes and "layers.0.up" in result.notes[0]


@WAYS
def test_a_block_that_runs_again_and_again_is_compressed_once(propagation, tokens):
    torch.manual_seed(0)
    block, last = Block(), Block()
    model = Blocks(block, block, block, last)
    inputs, witness = gather(model, "layers.0.down", tokens), Witness(model, tokens, propagation)
    result = compress(model, tokens, witness, propagation=propagation)
    assert [layer.tokens for layer in result.layers] == [768, 768, 256, 256]
    assert len(inputs) == 768 and "used by 3 block calls" in result.layers[1].notes[-1]
    if propagation == "dense":
        assert witness.worst < 1e-5
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn"
    options = {"embedding_size": 16, "hidden_act": "relu"} | SMALL
    albert = transformers.AlbertForMaskedLM(transformers.AlbertConfig(**options))
    result = compress(albert, tokens, HALF, propagation=propagation)
    assert {layer.tokens for layer in result.layers} == {2 * tokens.numel()}
    assert name in [layer.name for layer in result.layers]


# Arguments


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_half_precision(kind, dtype, tokens):
    model = make(kind, dtype)
    result = compress(model, tokens, HALF, keep_tensors=True)
    for layer in result.layers:
        assert layer.weight.dtype == weight(model, layer.name).dtype == dtype
        assert torch.equal(layer.weight, weight(model, layer.name))
        assert layer.sparsity == 0.5 and layer.relative_error > 0


def test_without_calibration_nothing_is_run(monkeypatch):
    model = make("mixtral")
    monkeypatch.setattr(model, "forward", None)
    grid = cupel.Rtn(cupel.Grid(bits=4, group=16))
    result = compress(model, None, grid, overrides={"*.q_proj": HALF_BY_SIZE, "*experts*": None})
    assert {layer.name.split(".")[-1]: layer.bits for layer in result.layers} == {
        "q_proj": 0, "k_proj": 4, "v_proj": 4, "o_proj": 4,
    }  # fmt: skip
    assert all(layer.loss is None and layer.weight is None for layer in result.layers)
    record = json.loads(result.to_json())
    assert record["keep_zeros"] is False
    assert record["overrides"] == {"*.q_proj": "magnitude 50%", "*experts*": None}
    assert record["skipped"]["model.layers.0.mlp.experts.down_proj[1]"].startswith("None in")
    assert compress(model, None, HALF_BY_SIZE).sparsity == 0.5
    with pytest.raises(cupel.NumericalError, match="wanda 50% needs calibration text"):
        compress(model, None, HALF)


HALF_BY_SIZE = cupel.Prune("magnitude", cupel.unstructured(0.5))


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_zeros_may_stay(kind, tokens):
    class Looks(cupel.Compressor):
        name, needs = "looks", "none"

        def compress(self, task):
            assert torch.equal(task.mask, task.weight != 0) and not task.mask.all()
            return cupel.LayerResult(task.weight)

    model = make(kind)
    compress(model, tokens, HALF)
    before = copy(model)
    compress(model, None, Looks(), keep_zeros=True)
    assert same(model, before)


def test_methods_may_follow_each_other(tokens):
    model = make("gpt2")
    result = compress(model, tokens, [HALF, cupel.Rtn(cupel.Grid(bits=4, group=16))])
    for layer in result.layers:
        assert layer.bits == 4 and (weight(model, layer.name)[~layer.mask] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ["*.qproj"]}, r"\[skip\] '\*\.qproj' matches no linear layer"),
        ({"only": "x_proj"}, r"\[only\] 'x_proj' matches no linear layer"),
        ({"overrides": {"x": None}}, r"\[overrides\] 'x' matches no linear layer"),
        ({"skip": ["re:.*"]}, "no linear layer is left"),
        ({"propagation": "sparse"}, "staged, block or dense. Got 'sparse'"),
    ],
)
def test_mistakes_are_named(options, message, tokens):
    with pytest.raises(ValueError, match=message):
        compress(make("llama"), tokens, HALF, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.full((1, 4), 96), "below 96. Got 96 to 96 in calibration sample 0"),
        (torch.zeros(1, 65, dtype=torch.int64), "64 positions. Got calibration sample 0 of 65"),
    ],
)
def test_samples_that_do_not_fit_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        compress(make("llama"), given, HALF)


def test_models_that_do_not_fit_are_named(tokens):
    with pytest.raises(TypeError, match="torch.nn.Module"):
        compress("llama", tokens, HALF)
    with pytest.raises(ValueError, match="without one that has linear layers"):
        compress(torch.nn.Sequential(torch.nn.Linear(2, 2)), tokens, HALF)
    config = transformers.T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="encoder-decoder"):
        compress(transformers.T5ForConditionalGeneration(config), tokens, HALF)


# When it stops


class Fails(cupel.Compressor):
    name, needs = "fails", "none"

    def compress(self, task):
        if "layers.1" in task.name and ("down" in task.name or "[1]" in task.name):
            raise RuntimeError("mine")
        return cupel.LayerResult(task.weight / 2)


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_a_failure_leaves_the_model_as_it_was(kind, tokens):
    model = make(kind).train()
    model.model.layers[0].eval()
    before, modes = copy(model), [module.training for module in model.modules()]
    implementation = model.config._experts_implementation
    with pytest.raises(RuntimeError, match="mine"):
        compress(model, tokens, Fails())
    assert same(model, before) and hooks(model) == 0
    assert [module.training for module in model.modules()] == modes
    compress(model, tokens, HALF)
    assert not same(model, before) and hooks(model) == 0
    assert [module.training for module in model.modules()] == modes
    assert model.config._experts_implementation == implementation
    assert all(parameter.requires_grad for parameter in model.parameters())


@WAYS
def test_progress_that_says_false_interrupts(propagation, tokens):
    model, seen = make("llama"), []
    before = copy(model)

    def stop_late(progress):
        if progress.layer_done:
            seen.append(progress)
        return len(seen) < 9

    with pytest.raises(KeyboardInterrupt):
        compress(model, tokens, HALF, propagation=propagation, progress=stop_late)
    assert same(model, before) and hooks(model) == 0
    assert [(p.done, p.total, p.loss > 0) for p in seen] == [(n, 14, True) for n in range(1, 10)]


def test_an_activation_that_is_not_finite_is_named(tokens):
    model = make("llama")
    tokens[tokens == 7] = 8
    tokens[5, 11] = 7
    with torch.no_grad():
        model.model.embed_tokens.weight[7, 3] = float("inf")
    before = copy(model)
    with pytest.raises(cupel.NumericalError, match=r"layers\.0.*q_proj, sample 5, token 11"):
        compress(model, tokens, HALF)
    assert same(model, before)


def test_the_import_is_light():
    code = "import cupel.huggingface, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
