"""Small models, of transformers and made by hand, and what they give to their layers."""

import re

import cupel
import pytest
import torch

transformers = pytest.importorskip("transformers")
compress = cupel.huggingface.compress

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
# Attention windows and rotary angles that differ from layer to layer; Conv1D; projections around the
# blocks; attention beside the MLP; stacked experts [out, in] and [in, out].
MODELS = {
    "llama": ("LlamaForCausalLM", {}),
    "qwen2": (
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        {"head_dim": 8, "sliding_window": 6, "num_hidden_layers": 3}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "opt": ("OPTForCausalLM", {"ffn_dim": 48, "word_embed_proj_dim": 16}),
    "gpt_neox": ("GPTNeoXForCausalLM", {}),
    "mixtral": ("MixtralForCausalLM", EXPERTS),
    "gpt_oss": ("GptOssForCausalLM", EXPERTS | {"head_dim": 8, "sliding_window": 6}),
}
ALL = pytest.mark.parametrize("kind", MODELS)
WAYS = pytest.mark.parametrize("propagation", ["staged", "block", "dense"])
HALF = cupel.Prune("wanda", cupel.unstructured(0.5))


def make(kind, dtype=torch.float32):
    """A seeded model whose weights are large enough for layers to matter."""
    name, options = MODELS[kind]
    model = getattr(transformers, name)
    torch.manual_seed(0)
    made = model(model.config_class(**SMALL | options))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return made.to(dtype).eval()


def copy(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def weight(model, name):
    """The weight of a layer of the result, [out, in]."""
    if name.endswith("]"):
        stack, index = name[:-1].rsplit("[", 1)
        module = model.get_submodule(stack.rpartition(".")[0])
        found = getattr(module, stack.rpartition(".")[2])[int(index)]
        return found.T if module.is_transposed else found
    module = model.get_submodule(name)
    return module.weight if isinstance(module, torch.nn.Linear) else module.weight.T


class Blocks(torch.nn.Module):
    """A model made by hand: an embedding and blocks."""

    def __init__(self, *blocks, heads=None):
        super().__init__()
        self.embed = torch.nn.Embedding(96, 16)
        self.layers = torch.nn.ModuleList(blocks)
        self.head = heads

    def forward(self, input_ids):
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden if self.head is None else self.head(hidden)


class Block(torch.nn.Module):
    def __init__(self, linear=torch.nn.Linear):
        super().__init__()
        self.up, self.down = linear(16, 24), torch.nn.Linear(24, 16)

    def forward(self, hidden):
        return hidden + self.down(self.up(hidden).relu())


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class Witness(cupel.Compressor):
    """Prunes by wanda, and looks what the whole model gives the layer at that time."""

    name, needs = "witness", "sq_norm"

    def __init__(self, model, samples, propagation):
        super().__init__()
        self.model, self.samples, self.propagation = model, samples, propagation
        self.dense, self.worst = copy(model), 0.0

    def compress(self, task):
        now = copy(self.model)
        if self.propagation != "staged":
            # Dense are the layer's own block ("model.layers.1."), or all of them.
            block = re.match(r".*?\.\d+\.", task.name)[0]
            every = self.propagation == "dense"
            self.model.load_state_dict(
                {k: self.dense[k] if every or k.startswith(block) else now[k] for k in now}
            )
        seen = gather(self.model, task.name, self.samples)
        self.model.load_state_dict(now)
        assert len(seen) == task.stats.tokens() > 0, task.name
        expected = seen.double().square().sum(0)
        error = (task.stats.sq_norm() - expected).abs().max() / expected.max()
        self.worst = max(self.worst, float(error))
        return cupel.Compressor.compress(HALF, task.weight, task.stats, name=task.name)


def gather(model, name, samples):
    """The inputs [tokens, in] of a layer, by a plain hook."""
    seen = []

    def linear(module, args):
        seen.append(args[0].reshape(-1, args[0].shape[-1]).clone())

    def expert(module, args):
        hidden, chosen, _ = args
        x = hidden[(chosen == index).any(-1)]
        if name.startswith(f"{parent}.down_proj"):
            gate_up = x @ module.gate_up_proj[index] if module.is_transposed else None
            gate_up = x @ module.gate_up_proj[index].T if gate_up is None else gate_up
            if module.has_bias:
                gate_up = gate_up + module.gate_up_proj_bias[index]
            x = module._apply_gate(gate_up)
        seen.append(x)

    index = int(name[:-1].rsplit("[", 1)[1]) if name.endswith("]") else None
    parent = name if index is None else name.rsplit(".", 1)[0]
    module = model.get_submodule(parent)
    handle = module.register_forward_pre_hook(linear if index is None else expert)
    with torch.no_grad():
        for sample in samples:
            model(sample[None])
    handle.remove()
    return torch.cat(seen)
