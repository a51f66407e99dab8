"""Transformers models are compressed in memory on what their own forward pass gives each layer."""

import itertools
import json

import cupel
import pytest
import torch
from conftest import TINY_CONFIG, tiny_state_dict
from huggingface_models import (
    ALL,
    HALF,
    WAYS,
    Block,
    Blocks,
    Witness,
    compress,
    copy,
    hooks,
    make,
    same,
    transformers,
    weight,
)

METHODS = {
    "wanda": HALF,
    "sparsegpt": cupel.SparseGpt(cupel.n_of_m(2, 4)),
    "both": [HALF, cupel.Gptq(cupel.Grid(bits=4, group=16))],
}


@WAYS
@pytest.mark.parametrize("method", METHODS)
def test_llama_is_compressed_as_by_the_library_itself(method, propagation, tokens):
    native = cupel.make_model(json.dumps(TINY_CONFIG), tiny_state_dict(TINY_CONFIG))
    options = {k: v for k, v in TINY_CONFIG.items() if k not in ("architectures", "torch_dtype")}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    theirs.load_state_dict(tiny_state_dict(TINY_CONFIG))
    samples = [*tokens[:5], tokens[5, :9], tokens[6, :9], tokens[7, :20]]
    expected = cupel.compress(native, samples, METHODS[method], propagation=propagation)
    result = compress(theirs, samples, METHODS[method], propagation=propagation)
    # One bit may differ: our own norms and softmax sum in another order than torch's.
    state, flipped, total = native.state_dict(), 0, 0
    for name, value in theirs.state_dict().items():
        flipped += int(((value == 0) != (state[name] == 0)).sum())
        total += value.numel()
    assert flipped <= 1e-4 * total
    for made, wanted in zip(result.layers, expected.layers, strict=True):
        assert (made.name, made.tokens) == (wanted.name, wanted.tokens)
        assert made.loss == pytest.approx(wanted.loss, rel=1e-3)
    assert result.calibration_hash == expected.calibration_hash
    assert result.method == expected.method
    assert result.sparsity == pytest.approx(expected.sparsity, abs=1e-3) and result.sparsity > 0.4


@ALL
@WAYS
def test_statistics_are_those_of_the_models_own_forward(kind, propagation, tokens):
    model = make(kind)
    samples = [*tokens[:3], tokens[3, :20]]
    witness = Witness(model, samples, propagation)
    result = compress(model, samples, witness, propagation=propagation)
    assert witness.worst < 1e-5
    linears = {"gemma3": 21, "gpt2": 8, "gpt_neox": 8, "opt": 12, "mixtral": 24, "gpt_oss": 24}
    assert len(result.layers) == linears.get(kind, 14)


@ALL
def test_sparsity_is_exact_in_every_layer(kind, tokens):
    model = make(kind)
    before = copy(model)
    result = compress(model, tokens, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    assert result.sparsity == 0.5
    compressed = set()
    for layer in result.layers:
        pruned = weight(model, layer.name)
        assert torch.equal(pruned != 0, layer.mask) and layer.loss > 0
        assert (layer.mask.unflatten(1, (-1, 4)).sum(-1) == 2).all()
        compressed.add(layer.name.split("[")[0])
    for name, tensor in model.state_dict().items():
        if name.removesuffix(".weight") not in compressed:
            assert torch.equal(tensor, before[name]), name


@WAYS
def test_number_of_passes_and_of_statistics(propagation, monkeypatch, tokens):
    made = []

    class Counting(cupel.InputStats):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(cupel, "InputStats", Counting)
    model, runs, downs = make("llama"), [], []
    model.model.layers[0].register_forward_pre_hook(lambda *_: runs.append(1))
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: downs.append(1))
    compress(model, tokens, HALF, propagation=propagation)
    # The dense pass and its check on the first batch, then what the docstring says.
    assert len(runs) == 2 + {"staged": 5, "block": 2, "dense": 1}[propagation]
    assert len(downs) == 2 + 1  # other passes end before it
    assert len(made) == 2 * 4


class Routed(torch.nn.Module):
    """Experts that are modules of their own; a token goes to one of them."""

    def __init__(self, reach=3):
        super().__init__()
        self.router, self.reach = torch.nn.Linear(16, 3), reach
        self.experts = torch.nn.ModuleList(Block() for _ in range(3))
        self.out = torch.nn.Linear(16, 16)

    def forward(self, hidden):
        chosen = self.router(hidden)[..., : self.reach].argmax(-1)
        made = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            if (chosen == number).any():
                made[chosen == number] = expert(hidden[chosen == number])
        total = torch.zeros(made.shape)
        torch._foreach_add_([total], [made])  # returns nothing
        return self.out(total)


class Halves(cupel.Compressor):
    """Keeps half of each weight, and what it was called with."""

    name, needs = "halves", "sum"

    def __init__(self):
        super().__init__()
        self.seen = {}

    def compress(self, task):
        self.seen[task.name.removeprefix("layers.")] = task
        return cupel.LayerResult(task.weight / 2)


def test_experts_share_stages(tokens):
    torch.manual_seed(0)
    model, runs, method = Blocks(Routed(), Routed()), [], Halves()
    model.layers[0].register_forward_pre_hook(lambda *_: runs.append(1))
    compress(model, tokens, method)
    assert len(runs) == 2 + 5  # router, up, down, out, on to the next block
    for block in "01":
        up, down = ([f"{block}.experts.{n}.{part}" for n in range(3)] for part in ("up", "down"))
        in_order = [name for name in method.seen if name[0] == block]
        assert in_order == [f"{block}.router", *up, *down, f"{block}.out"]
        assert sum(method.seen[name].stats.tokens() for name in up) == tokens.numel()


def test_an_expert_that_only_the_compressed_model_reaches_has_the_stage_of_the_others(tokens):
    torch.manual_seed(0)
    model, method = Blocks(Routed()), Halves()
    with torch.no_grad():
        model.layers[0].router.bias.copy_(torch.tensor([0.0, 0.0, 3.0]))
        model.layers[0].router.weight[2] -= 100 * model.layers[0].router.weight[1]
        model.embed.weight.copy_(model.layers[0].router.weight[1] + torch.rand(96, 16) / 9)
    gone = cupel.Prune("magnitude", cupel.unstructured(1.0))
    compress(model, tokens, method, overrides={"*.router": gone})
    assert [name.split(".")[-1] for name in method.seen] == 3 * ["up"] + 3 * ["down"] + ["out"]
    reached = [method.seen[f"0.experts.{n}.down"].stats.tokens() for n in range(3)]
    assert reached == [0, 0, tokens.numel()]


@pytest.mark.parametrize("linear", [True, False])
def test_an_expert_without_tokens_is_an_error(linear, tokens):
    model = Blocks(Routed(reach=2)) if linear else make("mixtral")
    if not linear:
        with torch.no_grad():  # the same experts always
            model.model.layers[1].mlp.gate.weight.zero_()
    before = copy(model)
    with pytest.raises(cupel.NumericalError, match=r"0 tokens reached .*experts"):
        compress(model, tokens, HALF)
    assert same(model, before)
    assert len(compress(model, None, cupel.Prune("magnitude", cupel.unstructured(0.5))).layers)


class Handing(torch.nn.Module):
    """A block that hands its values on to the next through a dict that all blocks are given."""

    def __init__(self, rule):
        super().__init__()
        self.value, self.out = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.rule = rule

    def forward(self, hidden, store):
        value = self.rule(self.value(hidden), store)
        return (hidden.mul_(2).add_(self.out(value)),)  # in place, which must not harm a rerun


class Keeper(Blocks):
    def forward(self, input_ids):
        hidden, store = self.embed(input_ids), {}
        for layer in self.layers:
            (hidden,) = layer(hidden, store=store)
        return hidden


def test_what_blocks_hand_on_is_that_of_the_compressed_model(tokens):
    torch.manual_seed(0)
    model = Keeper(*(Handing(lambda v, store: v + store.setdefault("first", v)) for _ in range(3)))
    witness = Witness(model, tokens, "staged")
    compress(model, tokens, witness)
    assert witness.worst < 1e-5


def test_blocks_that_cannot_be_run_again_are_refused(tokens):
    counter = itertools.count()
    model = Keeper(*(Handing(lambda value, store: value * next(counter)) for _ in range(2)))
    before = copy(model)
    with pytest.raises(ValueError, match="running the blocks one by one"):
        compress(model, tokens, HALF)
    assert same(model, before) and hooks(model) == 0


def test_every_sample_has_what_the_model_passes_with_it():
    class Side(Block):
        def forward(self, hidden, *, side):
            return super().forward(hidden) * side[0]

    class Model(Blocks):
        def forward(self, input_ids):
            hidden = self.embed(input_ids)
            side = (hidden.tanh(), None)
            for layer in self.layers:
                hidden = layer(hidden, side=side)
            return hidden

    torch.manual_seed(0)
    model = Model(Side(), Side())
    samples = list(torch.randint(0, 96, (3, 1100)))  # too long for one batch
    witness = Witness(model, samples, "staged")
    compress(model, samples, witness)
    assert witness.worst < 1e-5


def test_samples_of_one_length_share_a_batch_of_bounded_size():
    from cupel.huggingface.replay import make_batches

    lengths = [1024, 1024, 1024, 7, 7, 3000, 3000, 7]
    batches = make_batches([torch.zeros(length, dtype=torch.int64) for length in lengths])
    shapes = [(2, 1024), (1, 1024), (2, 7), (1, 3000), (1, 3000), (1, 7)]
    assert [tuple(batch.tokens.shape) for batch in batches] == shapes
    assert [batch.first_sample for batch in batches] == [0, 2, 3, 5, 6, 7]


def test_blocks_that_are_not_in_a_row_can_be_dense_only(tokens):
    class Mixing(Blocks):
        def forward(self, input_ids):
            first = hidden = self.embed(input_ids)
            for layer in self.layers:
                hidden = layer(hidden + first)
            return hidden

    torch.manual_seed(0)
    model = Mixing(Block(), Block())
    with pytest.raises(ValueError, match=r"between layers\.0 and layers\.1"):
        compress(model, tokens, HALF)
    witness = Witness(model, tokens, "dense")
    compress(model, tokens, witness, propagation="dense")
    assert witness.worst < 1e-5


def test_layers_may_cease_to_share_an_input(tokens):
    class Parting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.one, self.two = (torch.nn.Linear(16, 16) for _ in range(3))

        def forward(self, hidden):
            hidden = hidden + self.first(hidden)
            other = hidden if self.first.weight.any() else hidden / 2
            return self.one(hidden) + self.two(other)

    torch.manual_seed(0)
    model = Blocks(Parting(), Parting())
    everything = cupel.Prune("wanda", cupel.unstructured(1.0))
    witness = Witness(model, tokens, "staged")
    result = compress(model, tokens, witness, overrides={"*.first": everything})
    assert [layer.sparsity for layer in result.layers] == 2 * [1.0, 0.5, 0.5]
    assert witness.worst < 1e-5
