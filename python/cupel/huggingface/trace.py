"""Watches the inputs of layers, and finds out which layers depend on which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .layers import Layer

Before = Callable[[Layer, torch.Tensor], None]  # (layer, its input)
After = Callable[[Layer, torch.Tensor, torch.Tensor], None]  # (layer, its input, its output)

# Products -> (position of x, position of the weight, is the weight used as [out, in]?).
_PRODUCTS = {
    torch.nn.functional.linear: (0, 1, True),
    torch.matmul: (0, 1, False),
    torch.Tensor.matmul: (0, 1, False),
    torch.Tensor.__matmul__: (0, 1, False),
    torch.mm: (0, 1, False),
    torch.Tensor.mm: (0, 1, False),
    torch.bmm: (0, 1, False),
    torch.Tensor.bmm: (0, 1, False),
    torch.addmm: (1, 2, False),
    torch.baddbmm: (1, 2, False),
}


class _ExpertProducts(TorchFunctionMode):
    """Sees the products with slices of stacked weights, which no module computes."""

    def __init__(self, layers: Iterable[Layer], before: Before, after: After):
        super().__init__()
        self.layers = {layer.stored().data_ptr(): layer for layer in layers}
        self.before, self.after = before, after

    def __torch_function__(self, func, types, args=(), kwargs=None):
        uses = list(self._uses(*_PRODUCTS[func], args)) if func in _PRODUCTS else []
        for layer, x, _ in uses:
            self.before(layer, x)
        output = func(*args, **(kwargs or {}))
        for layer, x, number in uses:
            self.after(layer, x, output if number is None else output[number])
        return output

    def _uses(self, x_at: int, weight_at: int, as_linear: bool, args: tuple) -> Iterator[tuple]:
        if len(args) <= weight_at or not isinstance(args[weight_at], torch.Tensor):
            return
        x, weight = args[x_at], args[weight_at]
        if weight.dim() == 2:
            slices = [(x, weight, None)]
        elif weight.dim() == 3 and x.dim() == 3 and len(x) == len(weight):  # all experts at once
            slices = [(x[i], weight[i], i) for i in range(len(weight))]
        else:
            return
        for rows, matrix, number in slices:
            layer = self.layers.get(matrix.data_ptr())
            if layer is None or matrix.numel() != layer.stored().numel():
                continue
            stored = layer.stored()
            as_stored = matrix.shape == stored.shape and matrix.stride() == stored.stride()
            transposed = as_stored != as_linear
            if layer.transposed is None:
                layer.transposed = transposed
            elif layer.transposed != transposed:
                raise ValueError(
                    "[huggingface.compress] the experts of a stack are all stored alike. Got "
                    f"{layer.name} used both as [out, in] and as [in, out]; skip it."
                )
            yield layer, rows, number


def _input(args: tuple, kwargs: dict) -> torch.Tensor:
    return args[0] if args else next(iter(kwargs.values()))


def _nothing(*_: Any) -> None:
    pass


@contextmanager
def watch(layers: Iterable[Layer], before: Before, after: After = _nothing) -> Iterator[None]:
    """Within it, `before` and `after` are called around every use of `layers`.

    They get the layer and its input [..., in]; `after` also gets the output [..., out].
    """
    layers = list(layers)

    def pre_hook(layer: Layer, module, args, kwargs):
        before(layer, _input(args, kwargs))

    def hook(layer: Layer, module, args, kwargs, output):
        after(layer, _input(args, kwargs), output)

    with ExitStack() as stack:
        for layer in layers:
            for module in layer.modules:
                handles = (
                    module.register_forward_pre_hook(partial(pre_hook, layer), with_kwargs=True),
                    module.register_forward_hook(partial(hook, layer), with_kwargs=True),
                )
                for handle in handles:
                    stack.callback(handle.remove)
        experts = [layer for layer in layers if layer.stack]
        if experts:
            stack.enter_context(_ExpertProducts(experts, before, after))
        yield


def identity(x: torch.Tensor) -> tuple:
    """Equal for tensors that are the same numbers in the same memory, while both are alive."""
    return x.data_ptr(), x.dtype, x.shape, x.stride(), x._version


def tensors(tree: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from tensors(part)
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from tensors(part)


class Trace(TorchDispatchMode):
    """Records for each layer its calls, its inputs, and the layers that these depend on.

    Dependencies are followed through every operation of torch within one call of a block: what is
    computed from a layer's output depends on it, through attention, routing and in-place updates.
    A choice made in Python (an `if` on a value) is not seen.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.read: set[Layer] = set()  # modules whose weight some operation got, called or not
        self._weights = {layer.parameter.data_ptr(): layer for layer in layers if layer.modules}
        self.calls: dict[Layer, set[int]] = {}
        self.inputs: dict[Layer, list[int]] = {}  # numbers of the distinct inputs, in order
        self.depends_on: dict[Layer, set[Layer]] = {}
        self._call = -1
        self._distinct = 0
        self.begin(-1)

    def begin(self, call: int) -> None:
        """A block is called; nothing before it is followed any further."""
        self._call = call
        self._seen: dict[tuple, int] = {}
        self._alive: list[Any] = []  # so that no address is used twice
        self._sources: dict[int, frozenset[Layer]] = {}  # by storage

    def before(self, layer: Layer, x: torch.Tensor) -> None:
        if self._call < 0:
            return
        key = identity(x)
        if key not in self._seen:
            self._seen[key] = self._distinct
            self._distinct += 1
            self._alive.append(x)
        self.calls.setdefault(layer, set()).add(self._call)
        self.inputs.setdefault(layer, []).append(self._seen[key])
        self.depends_on.setdefault(layer, set()).update(self._of(x))

    def after(self, layer: Layer, x: torch.Tensor, output: torch.Tensor) -> None:
        if self._call >= 0:
            self._mark(output, self._of(x) | {layer})

    def stages(self, layers: Iterable[Layer]) -> dict[Layer, int]:
        """Stage of each layer that was used: one after the last stage that it depends on."""
        stages: dict[Layer, int] = {}
        # In order of first use: a layer that is used again later may depend on itself by then.
        chosen = set(layers)
        for layer in self.inputs:
            if layer in chosen:
                before = [stages[other] for other in self.depends_on[layer] if other in stages]
                stages[layer] = 1 + max(before, default=-1)
        return stages

    def _of(self, tensor: torch.Tensor) -> frozenset[Layer]:
        return self._sources.get(tensor.untyped_storage().data_ptr(), frozenset())

    def _mark(self, tensor: torch.Tensor, sources: frozenset[Layer]) -> None:
        storage = tensor.untyped_storage()
        if address := storage.data_ptr():
            self._sources[address] = self._sources.get(address, frozenset()) | sources
            self._alive.append(storage)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        given = list(tensors([args, kwargs]))
        addresses = {tensor.data_ptr() for tensor in given}
        self.read.update(self._weights[address] for address in addresses & self._weights.keys())
        sources = frozenset().union(*map(self._of, given))
        if sources:
            for tensor in tensors(output):
                self._mark(tensor, sources)
            if func._schema.is_mutable:
                for tensor in _written(func._schema, args, kwargs):
                    self._mark(tensor, sources)
        return output


def _written(schema, args: tuple, kwargs: dict) -> Iterator[torch.Tensor]:
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            yield from tensors(given)
