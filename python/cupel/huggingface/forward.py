"""Forward passes of a causal language model that cost no more than what is wanted of them."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer


class State:
    """Keys and values of tokens already run, each [1, heads, length, size], for each layer."""

    __slots__ = ("layers", "length")

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]]):
        self.layers = layers
        self.length = layers[0][0].shape[-2]

    def __len__(self) -> int:
        return self.length

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


def _cache_of(state: State | None, batch: int) -> DynamicCache:
    """A cache for `batch` rows after `state`, which stays as it is: a cache grows by copying."""
    cache = DynamicCache()
    for keys, values in state.layers if state is not None else ():
        layer = DynamicLayer()
        layer.dtype, layer.device = keys.dtype, keys.device
        layer.keys = keys.expand(batch, -1, -1, -1)
        layer.values = values.expand(batch, -1, -1, -1)
        layer.is_initialized = True
        cache.layers.append(layer)
    return cache


def _states_of(cache: DynamicCache, batch: int) -> list[State]:
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    if batch == 1:
        return [State(layers)]
    # Copies, or a state would hold on to the memory of the whole batch.
    return [
        State([(k[i : i + 1].clone(), v[i : i + 1].clone()) for k, v in layers])
        for i in range(batch)
    ]


def _rope_types(value: Any) -> set[str]:
    """The kinds of rotary angles that a config's parameters, of all layers or layer by layer, name."""
    if not isinstance(value, dict):
        return set()
    found = {value.get("rope_type", value.get("type"))}
    return found.union(*map(_rope_types, value.values()))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for the order of sums. NaN equals NaN: the scores will tell."""
    if a.shape != b.shape:
        return False
    eps = torch.finfo(b.dtype).eps if b.dtype.is_floating_point else 0.0
    limit = max(1e-4, 8 * eps) * b.nan_to_num(0, 0, 0).abs().max()
    return bool(((a - b).abs() <= limit).logical_or(~a.isfinite() & ~b.isfinite()).all())


class Forward:
    """A causal language model of transformers, after a look at what it can do.

    Attributes:
        vocabulary: Width of its logits.
        head: How logits of wanted rows alone are made. "pieces": the output embedding alone gives
            them, for as few rows at a time as one likes. "rows": the model scales or caps what its
            output embedding gives, which therefore gets the wanted rows of a batch within the
            model's own forward pass. "all": neither gives what the model gives, so logits of every
            position are made.
        pads: Rows of different lengths may share a batch.
        why_no_states: Why rows cannot begin from states, or "".
        state_bytes: Memory of one token in a state; 0 without states.

    Raises:
        ValueError: It is no causal language model, or is not in memory.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        if getattr(model.config, "is_encoder_decoder", False):
            raise ValueError(
                "[huggingface.TokenModel] a causal language model is needed. Got the encoder and "
                f"decoder of a {type(model).__name__}."
            )
        for name, parameter in model.named_parameters():
            if parameter.device.type == "meta":
                raise ValueError(
                    "[huggingface.TokenModel] the weights must be in memory. Got one on the device "
                    f"'meta' in {name}; load the model without offloading."
                )
        inputs = model.get_input_embeddings()
        self.ids = inputs.weight.shape[0]
        self.device = inputs.weight.device
        parameters = inspect.signature(model.forward).parameters
        # Wrappers hand on what they are given.
        wraps = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._accepts = lambda name: wraps or name in parameters
        self._output = model.get_output_embeddings()
        config = model.config
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
        # These take their angles from the longest sequence of the batch.
        self.pads = not _rope_types(rope) & {"dynamic", "longrope"}

    def probe(self) -> None:
        """Finds out what the attributes say; two short passes and some shorter ones."""
        tokens = torch.tensor([[(7919 * i + 1) % self.ids for i in range(5)]], device=self.device)
        self.head = "all"
        full = self._call(tokens).logits
        if full.dim() != 3 or full.shape[:2] != tokens.shape:
            raise ValueError(
                "[huggingface.TokenModel] a causal language model gives logits [batch, length, "
                f"vocabulary]. Got {list(full.shape)} for tokens [1, 5] of a "
                f"{type(self.model).__name__}."
            )
        self.vocabulary = full.shape[-1]
        if not _close(self._call(tokens[:, :3]).logits, full[:, :3]):
            raise ValueError(
                "[huggingface.TokenModel] a token's logits depend only on those before it in a "
                f"causal language model. Got a {type(self.model).__name__}, where later ones "
                "change them."
            )
        self.head = self._probe_head(tokens, full)
        self.state_bytes, self.why_no_states = 0, ""
        try:
            self.why_no_states = self._probe_states(tokens, full)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError) as error:
            # A model whose layers want another kind of cache.
            self.why_no_states = f"its cache is not plain keys and values ({error})"
        except ValueError as error:
            self.why_no_states = f"it refuses a cache ({error})"

    def __call__(
        self,
        tokens: torch.Tensor,
        batch: torch.Tensor,
        position: torch.Tensor,
        state: State | None = None,
        keep: bool = False,
    ) -> tuple[torch.Tensor, list[State]]:
        """Runs tokens [batch, length], each row after `state`.

        Returns:
            What logits() takes for the wanted rows (batch[i], position[i]); and with `keep` the
            state behind each row.
        """
        cache = _cache_of(state, len(tokens)) if state is not None or keep else None
        if self.head == "all":
            logits = self._call(tokens, cache).logits
            rows = logits[batch.to(logits.device), position.to(logits.device)]
        else:
            rows = self._picked(tokens, batch, position, cache)
        return rows, _states_of(cache, len(tokens)) if keep else []

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits float32 [rows, vocabulary] of what a pass returned."""
        if self.head == "pieces":
            rows = self._output(rows[None])[0]
        return rows.float()

    def _call(self, tokens: torch.Tensor, cache: DynamicCache | None = None) -> Any:
        options: dict[str, Any] = {}
        if cache is not None:
            options["past_key_values"] = cache
        if self._accepts("use_cache"):
            options["use_cache"] = cache is not None
        if self._accepts("return_dict"):
            options["return_dict"] = True
        return self.model(input_ids=tokens, **options)

    def _picked(
        self,
        tokens: torch.Tensor,
        batch: torch.Tensor,
        position: torch.Tensor,
        cache: DynamicCache | None = None,
    ) -> torch.Tensor:
        """The wanted rows: as they enter the output embedding, or as the model returns them."""
        caught: list[torch.Tensor] = []

        def pick(module: nn.Module, args: tuple) -> tuple:
            hidden = args[0]
            rows = hidden[batch.to(hidden.device), position.to(hidden.device)]
            caught.append(rows)
            # Something must go on; what comes of it is not looked at.
            onward = rows if self.head == "rows" and len(rows) else hidden[0, :1]
            return (onward[None], *args[1:])

        handle = self._output.register_forward_pre_hook(pick)
        try:
            output = self._call(tokens, cache)
        finally:
            handle.remove()
        return caught[0] if self.head == "pieces" else output.logits[0, : len(batch)]

    def _probe_head(self, tokens: torch.Tensor, full: torch.Tensor) -> str:
        if not isinstance(self._output, nn.Module):
            return "all"
        batch, position = (torch.tensor(x, device=self.device) for x in ([0, 0], [1, 3]))
        try:
            self.head = "rows"
            if not _close(self._picked(tokens, batch, position)[None], full[:, [1, 3]]):
                return "all"
        except (IndexError, RuntimeError):  # not called, or not with [batch, length, hidden]
            return "all"
        # Large logits show a cap that small ones would hide.
        seen: list[torch.Tensor] = []
        factor = float(256 / full.nan_to_num(0, 0, 0).abs().max().clamp(min=1e-3))

        def enlarge(module: nn.Module, args: tuple) -> tuple:
            seen.append(args[0] * factor)
            return (seen[-1], *args[1:])

        handle = self._output.register_forward_pre_hook(enlarge)
        try:
            large = self._call(tokens).logits
        finally:
            handle.remove()
        alone = self._output(seen[0])
        return "pieces" if large.isfinite().all() and _close(alone, large) else "rows"

    def _probe_states(self, tokens: torch.Tensor, full: torch.Tensor) -> str:
        if not self.pads:
            return "its rotary angles depend on the length of the whole sequence"
        if not self._accepts("past_key_values"):
            return "it takes no past_key_values"
        cache = DynamicCache()
        self._call(tokens[:, :3], cache)
        plain = cache.layers and all(
            type(layer) is DynamicLayer
            and layer.keys.dim() == layer.values.dim() == 4
            and layer.keys.shape[0] == layer.values.shape[0] == 1
            and layer.keys.shape[-2] == layer.values.shape[-2] == 3
            for layer in cache.layers
        )
        if not plain:
            return "its cache is not plain keys and values"
        state = _states_of(cache, 1)[0]
        before = [tensor.clone() for layer in state.layers for tensor in layer]
        after = self._call(tokens[:, 3:].repeat(2, 1), _cache_of(state, 2)).logits
        if not _close(after, full[:, 3:].repeat(2, 1, 1)):
            return "tokens after a state get other logits than within one sequence"
        now = [tensor for layer in state.layers for tensor in layer]
        if not all(torch.equal(a, b) for a, b in zip(before, now, strict=True)):
            return "it changes a state in place"
        self.state_bytes = state.bytes // len(state)
        return ""
