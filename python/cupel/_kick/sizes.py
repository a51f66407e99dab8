"""What cell.json says of the size of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cupel


def as_it_is(model: cupel.Model) -> dict[str, Any]:
    """What cell.json says of a model that was not compressed."""
    weights, zeros = tensors(model), linear_zeros(model)
    state = model.state_dict()
    linear = sum(state[f"{name}.weight"].numel() for name in model.linear_names())
    return {
        "sparsity": zeros / linear,
        "bits_per_weight": 8.0 * model.dtype.itemsize,
        "weight_bytes": sum(weights.values()),
        "packed_bytes": sum(weights.values()),
        "parameters": parameters(model),
        "nonzero_parameters": parameters(model) - zeros,
        "notes": [],
    }


def linear_zeros(model: cupel.Model) -> int:
    """Exact zeros in the weights of the linear layers."""
    state = model.state_dict()
    return sum(int((state[f"{name}.weight"] == 0).sum()) for name in model.linear_names())


def tensors(model: cupel.Model) -> dict[str, int]:
    """Name -> bytes of each tensor of a model; tied ones count once."""
    sizes, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            sizes[name] = tensor.nbytes
    return sizes


def parameters(model: cupel.Model) -> int:
    """Numbers in a model's tensors; tied ones count once."""
    state = model.state_dict()
    return sum(state[name].numel() for name in tensors(model))


def packed_names(result: cupel.CompressionResult) -> set[str]:
    """The tensors that CompressionResult.packed_bytes counts."""
    return {f"{layer.name}.weight" for layer in result.layers}
