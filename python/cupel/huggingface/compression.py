"""Compresses transformers models in memory, through hooks on their own forward pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .loop import Loop, Progress, quiet
from .plan import Method, Plan
from .result import CompressionResult


def compress(
    hf_model: nn.Module,
    calibration: Any,
    compressor: Method,
    *,
    propagation: str = "staged",
    skip: Sequence[str] = (),
    only: Sequence[str] = (),
    keep_zeros: bool = False,
    overrides: Mapping[str, Method | None] | None = None,
    keep_tensors: bool = False,
    measure_loss: bool = True,
    progress: Callable[[Progress], bool | None] | None = None,
) -> CompressionResult:
    """Compresses the linear layers inside the blocks of a transformers model, in place.

    Layers are nn.Linear, Conv1D (GPT-2) and the experts that transformers stacks in one parameter
    (`...experts.gate_up_proj[3]`). Subclasses with a forward of their own (quantized, adapters),
    weights shared with a module outside of the blocks, and everything outside of the blocks (lm_head,
    embeddings, projections around the blocks) are left alone and named in the result.

    After one pass over the dense model, each block is run by itself on what the model passes to it:
    once for "dense", twice for "block", and for "staged" once for each stage, up to the layers of that
    stage, and once more (in Llama together about 2.4 times the work of the block). A stage is all
    layers that do not depend on each other: q/k/v, gate/up, the first projections of all experts.
    Samples of equal length share a batch of up to 2048 tokens; the hidden states of all samples are
    kept.

    A weight that several block calls use (tied, or a block that is run more than once) is compressed
    once, on its inputs from all uses in the dense model; its notes say so.

    Args:
        hf_model: A causal model. Gets the new weights, in its own dtype; otherwise left as it was.
        calibration: int64 [samples, length], a list of 1-D tensors, a cupel.Calibration, or None for
            methods that need no statistics (then nothing is run, and losses are None).
        compressor: A cupel.Compressor, or a list of them for one after the other.
        propagation: "staged" (inputs from everything before as already compressed), "block" (earlier
            blocks compressed, its own dense) or "dense".
        skip, only: Layers to leave alone, and the only ones to compress: exact names, globs or
            "re:<pattern>". One that matches nothing is an error, and so is an `only` that names a
            layer outside of the blocks.
        keep_zeros: Weights that are zero stay zero (they are the mask of an earlier pruning).
        overrides: Pattern -> compressor for its layers, or None to leave them alone. The first that
            matches counts.
        keep_tensors: Keep weights, codes and scales in the result as well. Masks always stay.
        measure_loss: Collect what loss and relative_error need (a Gram matrix for each input) and
            work them out; False leaves them None.
        progress: Function of a progress (fields as cupel.Progress); returning False cancels.

    Returns:
        CompressionResult

    Raises:
        ValueError: A mistake in the arguments, or a model whose blocks cannot be run one by one.
        NumericalError: Activations or weights that are not finite, no tokens for a layer.
        KeyboardInterrupt: Ctrl-C, or `progress` said so.
        Whatever it is, every weight is then as it was before, bit for bit.
    """
    start = time.monotonic()
    plan = Plan(hf_model, compressor, propagation, skip, only, overrides)
    plan.load(calibration, measure_loss)
    tokens = plan.calibration
    # Before anything is changed, as it asks the compressor.
    result = CompressionResult(
        method=plan.compressor.name,
        options=json.loads(plan.compressor.options_json()),
        propagation=propagation,
        overrides=plan.overrides,
        keep_zeros=keep_zeros,
        calibration_hash=tokens.hash() if tokens is not None else "",
        calibration_samples=len(tokens.samples) if tokens is not None else 0,
        calibration_tokens=tokens.tokens if tokens is not None else 0,
    )
    loop = Loop(plan, keep_zeros, progress)
    with torch.inference_mode(False), torch.no_grad(), quiet(hf_model, plan):
        try:
            loop.run()
        except BaseException:
            loop.put_back()
            raise
    for layer in plan.methods:
        made = loop.made[layer]
        if not keep_tensors:
            for name in ("weight", "codes", "scales", "zeros", "group_index", "permutation"):
                setattr(made, name, None)
        result.layers.append(made)
        result.places.append(layer.place())
    result.skipped, result.notes = plan.skipped, loop.notes
    result.seconds = time.monotonic() - start
    return result
