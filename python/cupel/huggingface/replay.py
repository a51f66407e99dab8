"""Runs the blocks of a model one by one on what the model itself passes to them."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from .layers import Found

# As in the C++ library: enough rows to keep a GEMM busy, few enough for modest activations.
BATCH_TOKENS = 2048


class Enough(Exception):
    """Raised by a hook to say that the rest of a block need not run."""


class Link(NamedTuple):
    """Stands for element number `element` of what block call number `call` returned."""

    call: int
    element: int


Arguments = tuple[tuple, dict[str, Any]]


class Box(NamedTuple):
    """A dict or list through which blocks hand things on, and what it held before block call `call`."""

    box: dict | list
    call: int
    content: dict | list


@dataclass
class Batch:
    """Samples of equal length, and what their forward pass gives to each block call."""

    tokens: torch.Tensor  # int64 [samples, length]
    first_sample: int
    arguments: list[Arguments | None] = field(default_factory=list)  # one a call
    values: dict[Link, torch.Tensor] = field(default_factory=dict)
    boxes: dict[int, Box] = field(default_factory=dict)  # by id


def make_batches(samples: Sequence[torch.Tensor]) -> list[Batch]:
    """Neighbours of equal length share a batch; there is no padding."""
    batches: list[Batch] = []
    begin = 0
    while begin < len(samples):
        length, end = len(samples[begin]), begin + 1
        while (
            end < len(samples)
            and len(samples[end]) == length
            and (end + 1 - begin) * length <= BATCH_TOKENS
        ):
            end += 1
        batches.append(Batch(torch.stack(list(samples[begin:end])), begin))
        begin = end
    return batches


def _elements(output: Any) -> list[Any]:
    if isinstance(output, dict):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else [output]


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for the order of sums; what is not finite is for the statistics to find."""
    limit = max(1e-3, 4 * torch.finfo(b.dtype).eps) * b.nan_to_num(0, 0, 0).abs().max()
    return a.shape == b.shape and bool(((a - b).abs() <= limit).logical_or(~b.isfinite()).all())


def _map(tree: Any, function: Callable[[Any], Any]) -> Any:
    """`tree` with its tensors and links replaced, within tuples too.

    Dicts, lists and other objects stay what they are: blocks hand things on through one that all of
    them are given.
    """
    if isinstance(tree, (torch.Tensor, Link)):
        return function(tree)
    if type(tree) is tuple:
        return tuple(_map(part, function) for part in tree)
    return tree


def _map_call(arguments: Arguments, function: Callable[[Any], Any]) -> Arguments:
    args, kwargs = arguments
    return _map(args, function), {key: _map(value, function) for key, value in kwargs.items()}


def _boxes(tree: Any) -> Iterator[dict | list]:
    if type(tree) in (dict, list):
        yield tree
    elif type(tree) is tuple:
        for part in tree:
            yield from _boxes(part)


class Stream:
    """The calibration samples on their way through the blocks.

    Attributes:
        calls: Number of the block of each call, in the order in which the model calls them.
        batches: The samples.
    """

    def __init__(self, model: nn.Module, found: Found, batches: list[Batch]):
        self.model, self.found, self.batches = model, found, batches
        self.calls: list[int] = []
        self.on_batch: Callable[[], None] = lambda: None
        self._last_use: dict[Link, int] = {}
        self._alike: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, batch: Batch) -> None:
        """The model's own forward pass, without a cache."""
        parameters = inspect.signature(self.model.forward).parameters
        # Wrappers hand on what they are given.
        wraps = hasattr(self.model, "config") and any(
            parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
        )
        options: dict[str, Any] = {}
        if wraps or "use_cache" in parameters:
            options["use_cache"] = False
        if "logits_to_keep" in parameters:
            options["logits_to_keep"] = 1
        if wraps or "input_ids" in parameters:
            self.model(input_ids=batch.tokens, **options)
        else:
            self.model(batch.tokens, **options)

    @contextmanager
    def calls_of_blocks(
        self,
        before: Callable[[int, int, tuple, dict], None],
        after: Callable[[int, Any], None],
    ) -> Iterator[None]:
        """Within it, before(call, block, args, kwargs) and after(call, output) are called."""
        count = 0

        def pre_hook(block: int):
            def hook(module, args, kwargs):
                before(count, block, args, kwargs)

            return hook

        def post_hook(module, args, kwargs, output):
            nonlocal count
            after(count, output)
            count += 1

        with ExitStack() as stack:
            for number, block in enumerate(self.found.blocks):
                # Before any other hook: these run again when the block is run again.
                pre = block.register_forward_pre_hook(
                    pre_hook(number), with_kwargs=True, prepend=True
                )
                post = block.register_forward_hook(post_hook, with_kwargs=True)
                stack.callback(pre.remove)
                stack.callback(post.remove)
            yield

    def capture(self, begin: Callable[[int], None], linked: bool) -> None:
        """One dense pass over all samples that keeps what each block call is given.

        Args:
            begin: Called with the number of each call as it begins, and with -1 as it ends.
            linked: Must each block take what the one before it returned? Without that, a block can
                only be run on what it was given in the dense model.

        Raises:
            ValueError: The blocks are not called one after the other, each on the result of the one
                before; not the same ones for every sample; or running them one by one does not
                give what the model gives.
        """
        for number, batch in enumerate(self.batches):
            self.on_batch()
            calls, final = self._capture(batch, begin)
            if number == 0:
                self.calls = calls
                self._check_calls(linked)
                self._check_replay(final)
            elif calls != self.calls:
                raise ValueError(
                    "[huggingface.compress] every sample passes the same blocks. Got others for "
                    f"calibration sample {batch.first_sample} than for sample 0."
                )
        self._alike.clear()

    def _capture(self, batch: Batch, begin: Callable[[int], None]) -> tuple[list[int], Any]:
        calls: list[int] = []
        kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # id -> it, and what is kept of it
        made: dict[int, tuple[weakref.ref, Link]] = {}
        final: list[Any] = []

        def keep(call: int) -> Callable[[torch.Tensor], torch.Tensor | Link]:
            position = -1

            def of(tensor: torch.Tensor) -> torch.Tensor | Link:
                nonlocal position
                position += 1
                reference, link = made.get(id(tensor), (lambda: None, None))
                if reference() is tensor:
                    self._last_use[link] = max(call, self._last_use.get(link, 0))
                    return link
                if id(tensor) not in kept:
                    kept[id(tensor)] = (tensor, self._alike_or(tensor, call, position))
                if call > 0:
                    return kept[id(tensor)][1]
                # What goes into the first block is like the output of a block before it.
                link = Link(-1, position)
                batch.values[link] = kept[id(tensor)][1]
                self._last_use[link] = 0
                return link

            return of

        def before(call: int, block: int, args: tuple, kwargs: dict) -> None:
            calls.append(block)
            if len(calls) != call + 1:
                raise ValueError(
                    "[huggingface.compress] blocks are called one after the other. Got "
                    f"{self._name(calls[-1])} within {self._name(calls[-2])}."
                )
            batch.arguments.append(_map_call((args, kwargs), keep(call)))
            for box in _boxes((*args, *kwargs.values())):
                batch.boxes.setdefault(id(box), Box(box, call, box.copy()))
            begin(call)

        def after(call: int, output: Any) -> None:
            begin(-1)
            final[:] = _elements(output)[:1]
            for element, value in enumerate(_elements(output)):
                if isinstance(value, torch.Tensor):
                    made[id(value)] = (weakref.ref(value), Link(call, element))

        with self.calls_of_blocks(before, after):
            self.forward(batch)
        return calls, final[0] if final else None

    def _alike_or(self, tensor: torch.Tensor, call: int, position: int) -> torch.Tensor:
        """A tensor kept for the batch before, when it holds the same: masks and rotary angles."""
        other = self._alike.get((call, position))
        if (
            other is None
            or (other.shape, other.dtype, other.device)
            != (tensor.shape, tensor.dtype, tensor.device)
            or not torch.equal(other, tensor)
        ):
            # The first block may overwrite the samples that it is given.
            other = tensor.clone() if call == 0 else tensor
            self._alike[call, position] = other
        return other

    def _name(self, block: int) -> str:
        return self.found.block_names[block]

    def _check_calls(self, linked: bool) -> None:
        if not self.calls:
            raise ValueError(
                "[huggingface.compress] the model calls its blocks. Got a forward pass without a "
                f"call of {self._name(0)}."
            )
        for call in range(1, len(self.calls)):
            seen: list[Any] = []
            _map_call(self.batches[0].arguments[call], seen.append)
            if linked and Link(call - 1, 0) not in [x for x in seen if isinstance(x, Link)]:
                raise ValueError(
                    "[huggingface.compress] each block takes what the one before it returned, or "
                    'propagation is "dense". Got a model that changes hidden states between '
                    f"{self._name(self.calls[call - 1])} and {self._name(self.calls[call])}."
                )

    def _check_replay(self, final: Any) -> None:
        batch = self.batches[0]
        values, boxes = batch.values.copy(), batch.boxes.copy()
        for call in range(len(self.calls)):
            output = self._run(batch, call)
            self._forget(batch, call)
        batch.values, batch.boxes = values, boxes
        replayed = _elements(output)[0]
        if not isinstance(final, torch.Tensor) or not _close(replayed, final):
            raise ValueError(
                "[huggingface.compress] running the blocks one by one gives what the model gives. "
                "Got something else; do they share a cache or other state?"
            )

    def _run(self, batch: Batch, call: int) -> Any:
        def fill(leaf: torch.Tensor | Link) -> torch.Tensor:
            # A block may overwrite its input.
            return batch.values[leaf].clone() if isinstance(leaf, Link) else leaf

        args, kwargs = _map_call(batch.arguments[call], fill)
        for box in _boxes((*args, *kwargs.values())):
            _, filled_for, content = batch.boxes[id(box)]
            if filled_for == call:  # run again, on what was there the first time
                box.clear()
                box.update(content) if isinstance(box, dict) else box.extend(content)
            else:
                batch.boxes[id(box)] = Box(box, call, box.copy())
        output = self.found.blocks[self.calls[call]](*args, **kwargs)
        for element, value in enumerate(_elements(output)):
            if Link(call, element) in self._last_use:
                batch.values[Link(call, element)] = value
        return output

    def run(self, call: int, each: Callable[[Batch], None] = lambda batch: None) -> None:
        """Runs a block call on all samples, each(batch) before every batch.

        What it returns is what later calls are given, until it is run again.
        """
        for batch in self.batches:
            self.on_batch()
            each(batch)
            with suppress(Enough):
                self._run(batch, call)

    def finish(self, call: int) -> None:
        """Lets go of what only this call and those before it use."""
        for batch in self.batches:
            batch.arguments[call] = None
            self._forget(batch, call)

    def _forget(self, batch: Batch, call: int) -> None:
        for link in [link for link in batch.values if self._last_use[link] <= call]:
            del batch.values[link]
