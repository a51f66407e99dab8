"""Finds what can be compressed in a torch model, and says why the rest cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from .result import Place


@dataclass(eq=False)
class Layer:
    """A weight to compress: that of an nn.Linear or a Conv1D, or one expert of a stack.

    Attributes:
        names: Its name, then those of modules that share the weight.
        parameter: Holds the weight; [experts, ., .] for a stack.
        transposed: Is it stored [in, out]? None until a forward pass of the experts shows it.
        block: Index of its block.
        modules: All that use it; none for an expert of a stack.
        stack, index: Name of the stack's parameter and place in it; "" and -1 for modules.
    """

    names: list[str]
    parameter: nn.Parameter
    transposed: bool | None
    block: int
    modules: list[nn.Module] = field(default_factory=list)
    stack: str = ""
    index: int = -1

    @property
    def name(self) -> str:
        return self.names[0]

    def stored(self) -> torch.Tensor:
        """The weight as it is stored, sharing memory."""
        return self.parameter.data[self.index] if self.stack else self.parameter.data

    def view(self) -> torch.Tensor:
        """The weight as [out, in], sharing memory."""
        return self.stored().t() if self.transposed else self.stored()

    def place(self) -> Place:
        rows, columns = self.view().shape
        experts = len(self.parameter) if self.stack else 0
        return Place(
            self.name, rows, columns, bool(self.transposed), self.stack, self.index, experts
        )


@dataclass
class Found:
    """What find_layers found. `blocks` holds each block module once, in model order."""

    blocks: list[nn.Module]
    block_names: list[str]
    layers: list[Layer] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # name -> why


def _linear_kind(module: nn.Module) -> type[nn.Module] | None:
    """nn.Linear or transformers' Conv1D, whichever `module` is or derives from."""
    # A model that holds a Conv1D has imported this.
    transformers = sys.modules.get("transformers.pytorch_utils")
    kinds = (nn.Linear, transformers.Conv1D) if transformers else (nn.Linear,)
    return next((kind for kind in kinds if isinstance(module, kind)), None)


def _plain(parameter: nn.Parameter) -> bool:
    """Not a tensor subclass, such as those of quantized weights."""
    return type(parameter.data) is torch.Tensor


def _address(parameter: nn.Parameter) -> int:
    """Equal for parameters that share memory."""
    return parameter.data_ptr() if _plain(parameter) else id(parameter)


def _in_memory(name: str, parameter: nn.Parameter) -> nn.Parameter:
    if parameter.device.type == "meta":
        raise ValueError(
            "[huggingface.compress] the weights must be in memory. Got one on the device 'meta' in "
            f"{name}; load the model without offloading."
        )
    return parameter


def _why_not(module: nn.Module) -> str:
    """Why a linear module cannot be compressed, or ""."""
    # accelerate replaces the forward of an instance by one that also moves tensors.
    patched = "forward" in vars(module) and not hasattr(module, "_hf_hook")
    if patched or type(module).forward is not _linear_kind(module).forward:
        return f"a {type(module).__name__} with a forward of its own"
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is not a parameter (parametrized?)"
    if not _plain(weight):
        return f"its weight is a {type(weight.data).__name__}"
    if not weight.is_floating_point() or weight.element_size() < 2:
        return f"its weight is {str(weight.dtype).removeprefix('torch.')}"
    return ""


def _holds_layers(module: nn.Module) -> bool:
    return any(
        _linear_kind(part) or any(p is not None and p.dim() == 3 for p in part._parameters.values())
        for part in module.modules()
    )


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks: of all nn.ModuleLists that have linear layers the one with the most weights.

    Raises:
        ValueError: There is none.
    """
    best, blocks = 0, []
    for module in model.modules():
        if not isinstance(module, nn.ModuleList) or not any(map(_holds_layers, module)):
            continue
        weights = sum(parameter.numel() for parameter in module.parameters())
        if weights > best:  # of nested lists with the same weights the outer one
            best, blocks = weights, list(dict.fromkeys(module))
    if not blocks:
        raise ValueError(
            "[huggingface.compress] a model holds its blocks in a torch.nn.ModuleList. Got "
            f"{type(model).__name__} without one that has linear layers."
        )
    return blocks


def find_layers(model: nn.Module) -> Found:
    """Every layer inside the blocks of `model`, in model order.

    Raises:
        ValueError: No blocks, or weights that are not in memory (device "meta").
    """
    names = {id(module): name for name, module in model.named_modules()}
    blocks = find_blocks(model)
    found = Found(blocks, [names[id(block)] for block in blocks])
    inside = {id(part) for block in blocks for part in block.modules()}
    adapters = {
        id(part)
        for module in model.modules()
        if hasattr(module, "base_layer")
        for part in module.modules()
        if part is not module.base_layer
    }

    def why_not(module: nn.Module) -> str:
        if id(module) not in inside:
            return "outside of the blocks"
        if id(module) in adapters:
            return "part of an adapter; merge it first"
        return _why_not(module)

    # What a weight that is used elsewhere as well is called there.
    elsewhere: dict[int, str] = {}
    for name, module in model.named_modules():
        if _linear_kind(module) and not why_not(module):
            continue
        for key, parameter in module._parameters.items():
            if parameter is not None:
                elsewhere.setdefault(_address(parameter), f"{name}.{key}")

    owners: dict[int, Layer] = {}
    for number, block in enumerate(blocks):
        for module in block.modules():
            name = names[id(module)]
            if _linear_kind(module):
                if why := why_not(module):
                    found.skipped[name] = why
                else:
                    _add_module(found, owners, elsewhere, number, name, module)
            else:
                _add_parameters(found, number, name, module)
    for name, module in model.named_modules():
        if _linear_kind(module) and id(module) not in inside:
            found.skipped[name] = why_not(module)
    return found


def _add_module(
    found: Found,
    owners: dict[int, Layer],
    elsewhere: dict[int, str],
    block: int,
    name: str,
    module: nn.Module,
) -> None:
    weight = _in_memory(name, module.weight)
    key, transposed = _address(weight), not isinstance(module, nn.Linear)
    if key in elsewhere:
        found.skipped[name] = f"its weight is that of {elsewhere[key]}"
        return
    layer = owners.get(key)
    if layer is None:
        layer = owners[key] = Layer([name], weight, transposed, block, [module])
        found.layers.append(layer)
    elif layer.transposed == transposed and layer.parameter.shape == weight.shape:
        layer.names.append(name)
        layer.modules.append(module)
    else:
        why = f"{layer.name} and {name} use one weight in different ways"
        found.skipped[name] = why
        if layer in found.layers:
            found.layers.remove(layer)
            found.skipped[layer.name] = why


def _add_parameters(found: Found, block: int, name: str, module: nn.Module) -> None:
    """Stacks of experts become layers, other matrices are named as skipped."""
    kind = type(module).__name__
    if isinstance(module, nn.Embedding) or "Norm" in kind:
        return
    for key, parameter in module._parameters.items():
        if parameter is None or parameter.dim() < 2 or "bias" in key:
            continue
        full = f"{name}.{key}"
        torchs_own = type(module).__module__.startswith("torch.")
        plain = _plain(parameter) and parameter.is_floating_point()
        if parameter.dim() != 3 or torchs_own or not plain:
            found.skipped[full] = f"a {parameter.dim()}-D parameter of a {kind}, not an nn.Linear"
            continue
        # transformers marks its experts; for others the first forward pass shows it.
        transposed = getattr(module, "is_transposed", None)
        transposed = transposed if isinstance(transposed, bool) else None
        found.layers += (
            Layer(
                [f"{full}[{i}]"],
                _in_memory(full, parameter),
                transposed,
                block,
                stack=full,
                index=i,
            )
            for i in range(len(parameter))
        )


def stacks(layers: list[Layer]) -> Iterator[list[Layer]]:
    """The layers that are experts of a stack, stack by stack."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.stack:
            groups.setdefault(layer.stack, []).append(layer)
    yield from groups.values()
