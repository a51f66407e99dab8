"""Modules of torch as functions of tokens, and what their weights hash to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Without gradients and in evaluation mode; each part gets its own mode back."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of the state dict as it is now."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):  # extra state
            digest.update(f"{name}|{tensor!r}|".encode())
            continue
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name}|{dtype}|{list(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


class token_function:
    """`function` as int64 [1, length] on any device -> logits."""

    def __init__(self, function: Callable[..., Any], device: Any = None, dtype: str = ""):
        if not callable(function):
            raise TypeError(
                "[CallableTokenModel] a function or module is needed. Got "
                f"{type(function).__name__}."
            )
        self.function = function
        self.module = function if isinstance(function, torch.nn.Module) else None
        parameter = next(self.module.parameters(), None) if self.module is not None else None
        if device is None:
            device = "cpu" if parameter is None else parameter.device
        if not dtype:
            dtype = "float32" if parameter is None else str(parameter.dtype)
        self.device = str(torch.device(device))
        self.dtype = dtype.removeprefix("torch.")

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.to(self.device)
        if self.module is None:
            with torch.no_grad():
                output = self.function(tokens)
        else:
            with evaluating(self.module):
                output = self.function(tokens)
        logits = getattr(output, "logits", output)
        if not isinstance(logits, torch.Tensor):
            raise TypeError(
                "[CallableTokenModel] the function returns logits, or an object that has them as "
                f".logits. Got {type(output).__name__}."
            )
        return logits
