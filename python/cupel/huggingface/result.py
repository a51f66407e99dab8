"""What compressing a transformers model did."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    import cupel

# Fields of a LayerResult that go into the record as they are.
_RECORDED = (
    "sparsity", "loss", "relative_error", "sweep_loss", "damping", "rungs", "dead_columns", "tokens",
    "packed_bytes", "notes", "seconds",
)  # fmt: skip


class Place(NamedTuple):
    """Where a layer's weight is in the model; kept instead of the weight itself."""

    name: str
    rows: int
    columns: int
    transposed: bool  # stored [in, out]
    stack: str  # name of the parameter that holds it among other experts, or ""
    index: int  # in that parameter
    experts: int  # that it holds

    @property
    def weights(self) -> int:
        return self.rows * self.columns


@dataclass
class CompressionResult:
    """What compress() did to a transformers model; the fields are those of cupel.CompressionResult.

    Attributes:
        overrides: Pattern -> name of the compressor that its layers got, or None.
        layers: One LayerResult a layer, in model order; tensors are [out, in] for every kind of
            layer.
        skipped: Every linear layer, and every other matrix inside the blocks, that was left as it
            was -> why.
        notes: What else a reader of the result should know.
        places: Where each of `layers` is in the model.
    """

    method: str
    options: dict[str, Any]
    propagation: str
    overrides: dict[str, str | None] = field(default_factory=dict)
    keep_zeros: bool = False
    calibration_hash: str = ""
    calibration_samples: int = 0
    calibration_tokens: int = 0
    layers: list[cupel.LayerResult] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    places: list[Place] = field(default_factory=list, repr=False)

    @property
    def weights(self) -> int:
        """Weights in the compressed layers."""
        return sum(place.weights for place in self.places)

    @property
    def sparsity(self) -> float:
        """Zeros among them, in [0, 1]."""
        zeros = sum(
            made.sparsity * place.weights
            for place, made in zip(self.places, self.layers, strict=True)
        )
        return zeros / self.weights if self.weights else 0.0

    @property
    def packed_bytes(self) -> int:
        """Size of those layers if packed (computed)."""
        return sum(made.packed_bytes for made in self.layers)

    def masks(self) -> dict[str, torch.Tensor]:
        """Name -> bool, true = keep, each of the shape that the weight has in its module.

        That is [out, in] for nn.Linear and [in, out] for Conv1D, so that cupel.apply_masks_ takes
        them. Stacked experts have one mask under the name of their parameter; experts that were
        left alone are true throughout.

        Raises:
            ValueError: There are none: the method prunes nothing.
        """
        masks: dict[str, torch.Tensor] = {}
        for place, made in zip(self.places, self.layers, strict=True):
            if made.mask is None:
                continue
            mask = made.mask.t().contiguous() if place.transposed else made.mask
            if not place.stack:
                masks[place.name] = mask
                continue
            if place.stack not in masks:
                masks[place.stack] = mask.new_ones((place.experts, *mask.shape))
            masks[place.stack][place.index] = mask
        if not masks:
            raise ValueError("[CompressionResult] there are no masks: the method prunes nothing.")
        return masks

    def to_json(self) -> str:
        """Everything but tensors; losses are null where they were not measured."""
        layers = [
            {"name": place.name, "shape": [place.rows, place.columns], "bits": made.bits or None}
            | {name: getattr(made, name) for name in _RECORDED}
            for place, made in zip(self.places, self.layers, strict=True)
        ]
        record = {
            "method": self.method,
            "options": self.options,
            "propagation": self.propagation,
            "overrides": self.overrides,
            "keep_zeros": self.keep_zeros,
            "calibration": {
                "hash": self.calibration_hash,
                "samples": self.calibration_samples,
                "tokens": self.calibration_tokens,
            },
            "weights": self.weights,
            "sparsity": self.sparsity,
            "packed_bytes": self.packed_bytes,
            "skipped": self.skipped,
            "notes": self.notes,
            "seconds": self.seconds,
            "layers": layers,
        }
        return json.dumps(record, indent=1, ensure_ascii=False)

    def __repr__(self) -> str:
        return (
            f"<CompressionResult {self.method}, {len(self.layers)} layers, "
            f"sparsity {self.sparsity:g}>"
        )
