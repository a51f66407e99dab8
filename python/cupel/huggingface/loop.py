"""The loop over the blocks of a torch model: collect, compress, write back, move on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import nn

import cupel

from .layers import Layer, stacks
from .plan import Plan
from .replay import Batch, Enough, Stream
from .trace import Trace, identity, watch

Passes = Callable[[Callable[[Batch], None]], None]  # calls its argument before it runs each batch


@dataclass
class Progress:
    """As cupel.Progress, which only the compiled library makes."""

    stage: str
    name: str
    done: int
    total: int
    seconds: float
    loss: float = math.nan
    layer_done: bool = False


@contextmanager
def quiet(model: nn.Module, plan: Plan) -> Iterator[None]:
    """Within it there is no dropout, and experts run one by one; at the end all is as before."""
    training = [module for module in model.modules() if module.training]
    with ExitStack() as stack:
        stack.callback(lambda: [setattr(module, "training", True) for module in training])
        model.eval()
        owner = next((m for m in model.modules() if hasattr(m, "set_experts_implementation")), None)
        if owner is not None and any(layer.stack for layer in plan.methods):
            # The faster ways multiply by all experts of a stack at once.
            before = getattr(owner, "get_experts_implementation", lambda: "grouped_mm")()
            stack.callback(owner.set_experts_implementation, before)
            owner.set_experts_implementation("eager")
        yield


class _NotShared(Exception):
    """Two layers that had one input in the dense model have two in the compressed one."""


class Loop:
    """One run of compress() over a model."""

    def __init__(
        self, plan: Plan, keep_zeros: bool, progress: Callable[[Progress], bool | None] | None
    ):
        self.plan, self.keep_zeros, self.progress = plan, keep_zeros, progress
        self.start = time.monotonic()
        self.made: dict[Layer, cupel.LayerResult] = {}
        self.notes: list[str] = []
        self.saved: list[tuple[Layer, torch.Tensor]] = []
        self.trace = Trace(plan.methods)
        self.stream = Stream(plan.model, plan.found, plan.batches)
        self.stream.on_batch = lambda: self.report("calibrate")
        self.at = ""  # name of the layer at hand

    def run(self) -> None:
        plan, stream = self.plan, self.stream
        if plan.batches:
            stacked = {layer.stack for layer in plan.methods if layer.stack}
            experts = [layer for layer in plan.found.layers if layer.stack in stacked]
            watched = dict.fromkeys([*plan.methods, *experts])
            with self.trace, watch(watched, self.trace.before, self.trace.after):
                stream.capture(self.trace.begin, linked=plan.propagation != "dense")
        self.drop_other_uses()
        self.drop_unknown_stacks()
        self.plan.check_not_empty()
        self.calls = self.calls_of_layers()
        self.shared = self.collect_shared()
        for call in range(len(stream.calls)):
            here = [layer for layer, calls in self.calls.items() if calls[0] == call]
            later = any(calls[0] > call for calls in self.calls.values())
            if plan.propagation == "staged":
                self.compress_staged(call, here)
            elif plan.propagation == "block":
                self.compress_layers(here, self.collect(call, here))
            else:
                # The same pass makes what the next block is given. A weight that it uses as well
                # has to wait.
                stats = self.collect(call, here, whole=later)
                self.compress_layers([layer for layer in here if layer not in self.shared], stats)
            if not later:
                break
            if plan.propagation != "dense":
                stream.run(call)
            stream.finish(call)
        # The weights that had to wait, and layers that need no pass or had none.
        self.compress_layers([layer for layer in plan.methods if layer not in self.made], {})

    def compress_staged(self, call: int, layers: list[Layer]) -> None:
        stages = self.stages(layers)
        for stage in sorted(set(stages.values())):
            chosen = [layer for layer in layers if stages[layer] == stage]
            self.compress_layers(chosen, self.collect(call, chosen))

    def drop_other_uses(self) -> None:
        """Leaves alone modules that are never called while their weight is used."""
        for layer in self.trace.read - self.trace.inputs.keys():
            del self.plan.methods[layer]
            self.plan.skipped[layer.name] = "its weight is used without calling the module"

    def drop_unknown_stacks(self) -> None:
        """Leaves alone what no forward pass multiplied by."""
        for stack in stacks(self.plan.found.layers):
            chosen = [layer for layer in stack if layer in self.plan.methods]
            used = any(layer in self.trace.inputs for layer in stack)
            transposed = next((e.transposed for e in stack if e.transposed is not None), None)
            for layer in stack:
                layer.transposed = transposed
            if not chosen or (transposed is not None and (used or not self.plan.batches)):
                continue
            for layer in chosen:
                del self.plan.methods[layer]
            self.plan.skipped[stack[0].stack] = (
                "a 3-D parameter that is not multiplied slice by slice"
                if self.plan.batches
                else "a 3-D parameter; which way it is used shows only with calibration text"
            )

    def calls_of_layers(self) -> dict[Layer, list[int]]:
        """Block calls that use each layer; for a layer that no token reached those of its block."""
        calls: dict[Layer, list[int]] = {}
        for layer in self.plan.methods:
            own = [n for n, block in enumerate(self.stream.calls) if block == layer.block]
            if used := sorted(self.trace.calls.get(layer, ())) or own:
                calls[layer] = used
        return calls

    def stages(self, layers: list[Layer]) -> dict[Layer, int]:
        """Stages of the layers of a block; an expert that no token reached joins the others."""
        stages = self.trace.stages(layers)
        prefix = self.plan.found.block_names[layers[0].block] if layers else ""

        def family(layer: Layer) -> str:
            return re.sub(r"\d+", "*", layer.name.removeprefix(prefix))

        families = {family(layer): stage for layer, stage in stages.items()}
        last = max(stages.values(), default=0) + 1
        return {layer: stages.get(layer, families.get(family(layer), last)) for layer in layers}

    def collect_shared(self) -> dict[Layer, cupel.InputStats]:
        """Statistics of the weights that several block calls use, from the dense model."""
        shared = [layer for layer, calls in self.calls.items() if len(calls) > 1]

        def passes(each: Callable[[Batch], None]) -> None:
            for batch in self.stream.batches:
                self.stream.on_batch()
                each(batch)
                self.stream.forward(batch)

        for layer in shared:
            self.notes.append(f"{layer.name}: {self.shared_note(layer)}")
        return self.gather(shared, passes, whole=True) if shared else {}

    def shared_note(self, layer: Layer) -> str:
        return f"used by {len(self.calls[layer])} block calls; statistics of all, dense model"

    def collect(
        self, call: int, layers: list[Layer], whole: bool = False
    ) -> dict[Layer, cupel.InputStats]:
        """Statistics of what `layers` get in block call `call`, which runs to its end if `whole`."""
        layers = [layer for layer in layers if layer not in self.shared]
        return self.gather(layers, lambda each: self.stream.run(call, each), whole)

    def gather(
        self, layers: list[Layer], passes: Passes, whole: bool
    ) -> dict[Layer, cupel.InputStats]:
        """One InputStats for each distinct input of `layers`."""
        layers = [layer for layer in layers if self.plan.needs[layer] != cupel.Needs.none]
        if not layers and not whole:
            return {}
        if layers:
            self.at = layers[0].name
        try:
            return self._gather(layers, passes, whole, share=True)
        except _NotShared:
            return self._gather(layers, passes, whole, share=False)

    def _gather(
        self, layers: list[Layer], passes: Passes, whole: bool, share: bool
    ) -> dict[Layer, cupel.InputStats]:
        inputs = {layer: tuple(self.trace.inputs.get(layer, ())) for layer in layers}
        groups: dict[Any, list[Layer]] = {}
        order = {layer: number for number, layer in enumerate(self.trace.inputs)}
        for layer in sorted(layers, key=lambda layer: order.get(layer, len(order))):
            groups.setdefault(inputs[layer] if share and inputs[layer] else layer, []).append(layer)
        leaders = {layer: group[0] for group in groups.values() for layer in group}
        stats: dict[Layer, cupel.InputStats] = {}
        for group in groups.values():
            needs = reduce(or_, (self.plan.needs[layer] for layer in group))
            stats[group[0]] = cupel.InputStats(group[0].view().shape[1], needs)
        # Layers that are used once in every batch have all they need before the block ends.
        batches = len(self.stream.batches)
        once = not whole and all(len(numbers) == batches for numbers in inputs.values())
        seen: dict[Layer, tuple[tuple, torch.Tensor]] = {}
        missing: set[Layer] = set()
        batch: Batch | None = None

        def each(next_batch: Batch) -> None:
            nonlocal batch
            batch = next_batch
            seen.clear()
            missing.update(layers)

        def before(layer: Layer, x: torch.Tensor) -> None:
            leader = leaders[layer]
            if layer is leader:
                seen[leader] = (identity(x), x)  # kept, so that its address is not used again
                _add(stats[leader], x, layer.name, batch)
            elif leader not in seen or seen[leader][0] != identity(x):
                raise _NotShared
            missing.discard(layer)
            if once and not missing:
                raise Enough

        with watch(layers, before):
            passes(each)
        return {layer: stats[leader] for layer, leader in leaders.items()}

    def compress_layers(self, layers: list[Layer], stats: dict[Layer, cupel.InputStats]) -> None:
        factors = cupel.SharedFactors()
        for layer in layers:
            self.compress_layer(layer, stats.get(layer, self.shared.get(layer)), factors)

    def compress_layer(
        self, layer: Layer, stats: cupel.InputStats | None, factors: cupel.SharedFactors
    ) -> None:
        self.at = layer.name
        self.report("compress")
        view, needs = layer.view(), self.plan.needs[layer]
        if stats is None and needs != cupel.Needs.none:
            stats = cupel.InputStats(view.shape[1], needs)  # 0 tokens; the compressor says so
        weight = view.clone(memory_format=torch.contiguous_format)
        mask = weight != 0 if self.keep_zeros else None
        # The base class's own, as subclasses in Python have one that takes a task.
        made = cupel.Compressor.compress(
            self.plan.methods[layer],
            weight,
            stats,
            name=layer.name,
            mask=mask,
            measure_loss=self.plan.measure_loss,
            shared=factors,
        )
        if made.weight is None or made.weight.shape != view.shape:
            raise ValueError(
                "[huggingface.compress] a compressor returns a weight of the same shape. Got "
                f"{None if made.weight is None else list(made.weight.shape)} for "
                f"{list(view.shape)} in {layer.name}."
            )
        self.saved.append((layer, view.clone()))
        view.copy_(made.weight)
        notes = [f"shares its weight with {name}" for name in layer.names[1:]]
        if layer in self.shared:
            notes.append(self.shared_note(layer))
        made.notes = [*made.notes, *notes]
        self.made[layer] = made
        self.report("compress", math.nan if made.loss is None else made.loss, layer_done=True)

    def put_back(self) -> None:
        for layer, before in reversed(self.saved):
            layer.view().copy_(before)

    def report(self, stage: str, loss: float = math.nan, layer_done: bool = False) -> None:
        if self.progress is None:
            return
        seconds = time.monotonic() - self.start
        answer = self.progress(
            Progress(
                stage, self.at, len(self.made), len(self.plan.methods), seconds, loss, layer_done
            )
        )
        if answer is not None and not answer:
            raise KeyboardInterrupt("[huggingface.compress] cancelled by the progress function")


def _add(stats: cupel.InputStats, x: torch.Tensor, name: str, batch: Batch) -> None:
    samples, length = batch.tokens.shape
    first = batch.first_sample
    if x.numel() == samples * length * x.shape[-1]:
        stats.add(x, samples, layer=name, first_sample=first, sample_tokens=length)
        return
    try:
        stats.add(x, samples, layer=name, first_sample=first)
    except cupel.NumericalError as error:
        # Rows that a router chose; which token each of them is cannot be told from here.
        rows = f"The layer got {x.numel() // x.shape[-1]} tokens of calibration samples {first}"
        raise cupel.NumericalError(f"{error} {rows} to {first + samples - 1}.") from None
