"""Keeps pruned weights at zero while a model is trained further in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def apply_masks_(module: torch.nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Sets the pruned weights of a torch module to zero, in place.

    Call it after each step of the optimizer:

        optimizer.step()
        cupel.apply_masks_(hf_model, result.masks())

    Args:
        module: Any module that has a parameter `<name>.weight` for each name in `masks`, such as the
            transformers model of the same checkpoint.
        masks: Layer name -> bool [out, in], true = keep; what `CompressionResult.masks()` returns.

    Raises:
        ValueError: A name that the module has no weight for, or a mask that is not bool or not of the
            weight's shape. Nothing has been changed then.
    """
    import torch

    parameters = dict(module.named_parameters(remove_duplicate=False))
    pairs = []
    for name, mask in masks.items():
        # Stacked experts are a parameter of their own, without a module around it.
        weight = parameters.get(f"{name}.weight", parameters.get(name))
        if weight is None:
            raise ValueError(
                f"[apply_masks_] every mask needs a weight of its name in the module. Got {name}, "
                f"but {type(module).__name__} has no parameter {name}.weight."
            )
        if mask.dtype != torch.bool or mask.shape != weight.shape:
            raise ValueError(
                f"[apply_masks_] a mask is bool and has its weight's shape {list(weight.shape)}. "
                f"Got {mask.dtype} {list(mask.shape)} in {name}."
            )
        pairs.append((weight, mask))
    with torch.no_grad():
        for weight, mask in pairs:
            # Not a product: zero times a diverged weight would be NaN.
            weight.masked_fill_(~mask.to(weight.device), 0)
