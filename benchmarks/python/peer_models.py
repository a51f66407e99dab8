"""The model of compare_llm_compressor.py and compare_gptqmodel.py, and what judges its compressed copies.

Tokens are drawn from the dense model, so its perplexity is the lowest that can be expected, and what
a compressed model has more is what was lost. One implementation, transformers' Llama, judges the dense
float32 weights that every side hands back: perplexity of held-out tokens, and each linear layer's
relative output error on the inputs that it has in the dense model.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Weights = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A Llama, and how much text it is given."""

    hidden: int = 1024
    layers: int = 4
    heads: int = 16
    kv_heads: int = 4
    intermediate: int = 2816
    samples: int = 32
    heldout: int = 32
    length: int = 256

    vocabulary = 512

    def linears(self) -> list[tuple[int, int]]:
        """[out, in] of q, k, v, o, gate, up and down."""
        wide, inner = self.hidden, self.intermediate
        narrow = wide * self.kv_heads // self.heads
        attention = [(wide, wide), (narrow, wide), (narrow, wide), (wide, wide)]
        return attention + [(inner, wide), (inner, wide), (wide, inner)]

    def limit_flop(self, propagation: str) -> dict[str, float]:
        """The arithmetic that nobody avoids (docs/performance.md).

        The text passes every linear layer but the last block's down once, and with "block" the
        blocks before the last a second time; q, k and v share statistics and factor, so do gate and up.
        """
        tokens = self.samples * self.length
        block = sum(2 * tokens * r * c for r, c in self.linears())
        block += 2 * tokens * self.length * self.hidden  # both products of causal attention
        forwards = self.layers * block - 2 * tokens * self.hidden * self.intermediate
        if propagation == "block":
            forwards += (self.layers - 1) * block
        inputs = [self.hidden] * 3 + [self.intermediate]
        return {
            "forwards": forwards,
            "statistics": self.layers * sum(tokens * c**2 for c in inputs),
            "solves": self.layers
            * (sum(c**3 / 3 for c in inputs) + sum(r * c**2 for r, c in self.linears())),
        }


TINY = Shape(256, 2, 4, 2, 512, samples=8, heldout=8, length=64)


def make_model(folder: Path, shape: Shape, seed: int) -> None:
    """Writes a Llama with random weights, a tokenizer of numbered words, and both sides' tokens."""
    import transformers
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=2 * shape.length,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = transformers.LlamaForCausalLM(config).eval()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = torch.randn(weight.shape, generator=random)
            if weight.dim() == 1:  # a norm: some channels are larger, as in trained models
                weight.copy_((0.5 * values).exp())
            elif "embed" in name:
                weight.copy_(values)
            else:
                gain = 2.5 if name.startswith("lm_head") else 1.0
                weight.copy_(values * gain * weight.shape[1] ** -0.5)
    model.save_pretrained(folder)
    words = {f"w{i}": i for i in range(shape.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w0", eos_token="w1", pad_token="w1", unk_token="w0"
    ).save_pretrained(folder)
    tokens = draw_tokens(model, shape, random)
    parts = {"calibration": tokens[: shape.samples], "heldout": tokens[shape.samples :]}
    save_file({name: part.contiguous() for name, part in parts.items()}, folder / "tokens.st")


@torch.no_grad()
def draw_tokens(model: Any, shape: Shape, random: torch.Generator) -> torch.Tensor:
    """int64 [samples + heldout, length], each token drawn from what the model expects."""
    rows = shape.samples + shape.heldout
    tokens = step = torch.randint(2, shape.vocabulary, (rows, 1), generator=random)
    past = None
    while tokens.shape[1] < shape.length:
        made = model(step, past_key_values=past, use_cache=True)
        past = made.past_key_values
        step = torch.multinomial(made.logits[:, -1].softmax(-1), 1, generator=random)
        tokens = torch.cat([tokens, step], 1)
    return tokens


class Judge:
    """Measures any side's dense weights with transformers' Llama."""

    def __init__(self, folder: Path) -> None:
        import transformers
        from safetensors.torch import load_file

        self.tokens = load_file(folder / "tokens.st")
        self.model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.dense = {name: w.clone() for name, w in self.model.state_dict().items()}
        self.linears = [f"{name}.weight" for name, _ in self._modules()]
        self.grams = self._collect()

    def _modules(self) -> list[tuple[str, torch.nn.Module]]:
        modules = self.model.model.named_modules(prefix="model")
        return [(name, m) for name, m in modules if isinstance(m, torch.nn.Linear)]

    @torch.no_grad()
    def _collect(self) -> Weights:
        """X^T X of each linear layer's inputs over the calibration text, summed in float64."""
        grams: Weights = {}
        same = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}

        def add(name: str) -> Callable[..., None]:
            def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
                x = inputs[0].flatten(0, -2)
                grams[name] = grams.get(name, 0) + (x.T @ x).double()

            return hook

        hooks = [
            module.register_forward_pre_hook(add(name + ".weight"))
            for name, module in self._modules()
            if name.split(".")[-1] not in same
        ]
        for batch in self.tokens["calibration"].split(4):
            self.model(batch)
        for hook in hooks:
            hook.remove()
        for name in self.linears:
            kind = name.split(".")[-2]
            if kind in same:
                grams[name] = grams[name.replace(kind, same[kind])]
        return grams

    @torch.no_grad()
    def loss(self) -> float:
        """Mean negative log-likelihood of held-out tokens, of each window all but the first."""
        total, tokens = 0.0, self.tokens["heldout"]
        for batch in tokens.split(4):
            scores = self.model(batch).logits[:, :-1].double().log_softmax(-1)
            total -= float(scores.gather(2, batch[:, 1:, None]).sum())
        return total / tokens[:, 1:].numel()

    @torch.no_grad()
    def measure(
        self, weights: Weights, keep: tuple[int, int] | None = None, group: int = 0
    ) -> dict[str, Any]:
        """Perplexity, errors ||X dW^T||^2 / ||X W^T||^2, zeros.

        With keep = (n, m), how many groups keep more than n; with a group, the most distinct values
        that a row has in so many columns.
        """
        self.model.load_state_dict(weights)
        loss = self.loss()
        errors, zeros, count, broken, values = {}, 0, 0, 0, 0
        for name in self.linears:
            dense, made = self.dense[name].double(), weights[name].double()
            gram, change = self.grams[name], made - dense
            errors[name] = float(((change @ gram) * change).sum() / ((dense @ gram) * dense).sum())
            zeros, count = zeros + int((made == 0).sum()), count + made.numel()
            if keep:
                kept = (made != 0).view(made.shape[0], -1, keep[1]).sum(2)
                broken += int((kept > keep[0]).sum())
            if group:
                ordered = weights[name].view(made.shape[0], -1, group).sort(2).values
                values = max(values, 1 + int((ordered.diff(dim=2) != 0).sum(2).max()))
        others = set(self.dense) - set(self.linears)
        return {
            "perplexity": math.exp(loss),
            "loss": loss,
            "mean_error": statistics.mean(errors.values()),
            "errors": errors,
            "sparsity": zeros / count,
            "groups_above_n": broken if keep else None,
            "distinct_values": values if group else None,
            "changed_besides": sorted(n for n in others if not weights[n].equal(self.dense[n])),
        }

    def share_apart(self, a: Weights, b: Weights) -> float:
        """The share of linear weights that differ by more than 1 % of their layer's root mean square."""
        apart = count = 0
        for name in self.linears:
            far = 0.01 * self.dense[name].square().mean().sqrt()
            apart += int(((a[name] - b[name]).abs() > far).sum())
            count += a[name].numel()
        return apart / count
