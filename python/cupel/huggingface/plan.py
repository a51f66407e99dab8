"""What is to be compressed, with which method, on which samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import nn

import cupel

from .layers import Found, Layer, find_layers
from .replay import Batch, make_batches

Method = cupel.Compressor | Sequence[cupel.Compressor]


def _patterns(patterns: str | Sequence[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _compressor(method: Method) -> cupel.Compressor:
    made = cupel.Chain(list(method)) if isinstance(method, (list, tuple)) else method
    if not isinstance(made, cupel.Compressor):
        raise TypeError(
            "[huggingface.compress] a compressor is a cupel.Compressor or a list of them. Got "
            f"{type(method).__name__}."
        )
    return made


def _needs(needs: Any) -> cupel.Needs:
    """A compressor of one's own may state its needs as text, or as a list."""
    if isinstance(needs, cupel.Needs):
        return needs
    if isinstance(needs, str):
        return getattr(cupel.Needs, needs)
    return reduce(or_, map(_needs, needs), cupel.Needs.none)


def _matches(pattern: str, layer: Layer) -> bool:
    return any(cupel.matches_layer(pattern, name) for name in layer.names)


def _check_pattern(option: str, pattern: str, found: Found) -> None:
    if any(_matches(pattern, layer) for layer in found.layers):
        return
    others = [name for name in found.skipped if cupel.matches_layer(pattern, name)]
    if others and option == "skip":
        return  # left alone anyway
    if others:
        raise ValueError(
            f"[{option}] '{pattern}' names a layer that is left alone. Got {others[0]}: "
            f"{found.skipped[others[0]]}."
        )
    names = [layer.name for layer in found.layers] or ["(none)"]
    raise ValueError(
        f"[{option}] '{pattern}' matches no linear layer. They are called like {names[0]} ... "
        f"{names[-1]}."
    )


class Plan:
    """The arguments of compress(), checked.

    Attributes:
        methods: The chosen layers, in model order -> their compressor.
        needs: The statistics of each.
        skipped: Name -> why it is left alone.
        batches: The samples; none where no statistics are needed.
    """

    def __init__(
        self,
        model: nn.Module,
        compressor: Method,
        propagation: str,
        skip: str | Sequence[str],
        only: str | Sequence[str],
        overrides: Mapping[str, Method | None] | None,
    ):
        if propagation not in ("staged", "block", "dense"):
            raise ValueError(
                f"[huggingface.compress] propagation is staged, block or dense. Got '{propagation}'."
            )
        if not isinstance(model, nn.Module):
            raise TypeError(
                "[huggingface.compress] the model is a torch.nn.Module, such as those of "
                f"transformers. Got {type(model).__name__}."
            )
        if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
            raise ValueError(
                "[huggingface.compress] the model is a causal one. Got an encoder-decoder, "
                f"{type(model).__name__}."
            )
        self.model, self.propagation = model, propagation
        self.compressor = _compressor(compressor)
        self.found = find_layers(model)
        self.skipped = self.found.skipped
        self.methods: dict[Layer, cupel.Compressor] = {}
        self.needs: dict[Layer, cupel.Needs] = {}
        self.calibration: cupel.Calibration | None = None
        self.batches: list[Batch] = []
        self._choose(_patterns(skip), _patterns(only), dict(overrides or {}))

    def _choose(
        self, skip: list[str], only: list[str], overrides: dict[str, Method | None]
    ) -> None:
        for option, patterns in (("skip", skip), ("only", only), ("overrides", overrides)):
            for pattern in patterns:
                _check_pattern(option, pattern, self.found)
        others = {p: None if m is None else _compressor(m) for p, m in overrides.items()}
        self.overrides = {p: None if m is None else m.name for p, m in others.items()}
        for layer in self.found.layers:
            override = next((p for p in others if _matches(p, layer)), None)
            method = self.compressor if override is None else others[override]
            if only and not any(_matches(pattern, layer) for pattern in only):
                self.skipped[layer.name] = "not in only"
            elif any(_matches(pattern, layer) for pattern in skip):
                self.skipped[layer.name] = "in skip"
            elif method is None:
                self.skipped[layer.name] = f"None in overrides['{override}']"
            else:
                self.methods[layer] = method
        self.check_not_empty()

    def check_not_empty(self) -> None:
        if not self.methods:
            raise ValueError(
                "[huggingface.compress] no linear layer is left to compress. Got, as reasons: "
                f"{'; '.join(dict.fromkeys(self.skipped.values())) or 'none found'}."
            )

    def load(self, calibration: Any, measure_loss: bool) -> None:
        """Checks the samples, and cuts them into batches if statistics of them are needed."""
        if calibration is not None and not isinstance(calibration, cupel.Calibration):
            calibration = cupel.Calibration(calibration)
        samples = calibration.samples if calibration is not None else []
        self.measure_loss = measure_loss
        self.calibration = calibration
        self.needs = {layer: _needs(method.needs) for layer, method in self.methods.items()}
        none = cupel.Needs.none
        asking = [m.name for layer, m in self.methods.items() if self.needs[layer] != none]
        if asking and not samples:
            raise cupel.NumericalError(
                f"[huggingface.compress] {asking[0]} needs calibration text. Got 0 tokens; give a "
                "calibration."
            )
        if samples and measure_loss:
            self.needs = {layer: need | cupel.Needs.gram for layer, need in self.needs.items()}
        if any(need != none for need in self.needs.values()):
            self._check_samples(samples)
            device = _input_weight(self.model).device
            self.batches = make_batches([s.to(device, torch.int64) for s in samples])

    def _check_samples(self, samples: list[torch.Tensor]) -> None:
        embedding = getattr(self.model, "get_input_embeddings", lambda: None)()
        vocabulary = getattr(embedding, "num_embeddings", None)
        config = getattr(self.model, "config", None)
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        positions = getattr(config, "max_position_embeddings", None)
        for number, sample in enumerate(samples):
            if sample.numel() == 0 or sample.is_floating_point():
                raise ValueError(
                    "[huggingface.compress] a calibration sample holds token ids. Got "
                    f"{sample.dtype} {list(sample.shape)} in sample {number}."
                )
            low, high = int(sample.min()), int(sample.max())
            if low < 0 or (vocabulary is not None and high >= vocabulary):
                raise ValueError(
                    f"[huggingface.compress] token ids are at least 0 and below {vocabulary}. Got "
                    f"{low} to {high} in calibration sample {number}."
                )
            if isinstance(positions, int) and 0 < positions < len(sample):
                raise ValueError(
                    f"[huggingface.compress] the model has {positions} positions. Got calibration "
                    f"sample {number} of {len(sample)} tokens."
                )


def _input_weight(model: nn.Module) -> torch.Tensor:
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    return next((embedding if embedding is not None else model).parameters())
