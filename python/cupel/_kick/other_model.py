"""Another model beside a grid, as it is: as many parameters, the same tasks.

LLM-KICK sets a small dense model against a large sparse one of the same size (arXiv 2310.01382, section 4).
The size is counted here from the shapes of all tensors, so that both have as many weights that are not 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .grid import KickGrid
from .names import model_name
from .options import PARITY, task_options

if TYPE_CHECKING:
    import cupel

RULE = (
    "zeros = large_parameters - small_parameters, over all tensors, a tied head once; sparsity = zeros / "
    "weights of the compressed linear layers"
)


@dataclass(frozen=True)
class OtherModel:
    """`against_model`, looked at before anything runs.

    `sparsity` is what "parity" stands for, None where the grid does not ask for it.
    """

    name: str
    path: str
    fingerprint: str
    parameters: int
    large_parameters: int
    linear_weights: int
    sparsity: float | None

    @property
    def kick(self) -> dict[str, Any]:
        """What kick.json says of it."""
        names = ("name", "path", "fingerprint", "parameters")
        made: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.sparsity is not None:
            made["parity"] = {
                "sparsity": self.sparsity,
                "zeros": self.large_parameters - self.parameters,
                "large_parameters": self.large_parameters,
                "small_parameters": self.parameters,
                "linear_weights": self.linear_weights,
                "rule": RULE,
            }
        return made


def look_at(grid: KickGrid, model: Path, dense: cupel.Model, tokenizer: Any) -> OtherModel | None:
    """The model that `grid` names beside the dense one; None where it names none.

    Args:
        model: Folder of the dense model.
        dense: The same, lazy.
        tokenizer: Of both; None: those of the folders, which must agree.

    Raises:
        ValueError: Another tokenizer, windows of another length, or no parity: the other model is not
            smaller, or more than all linear weights would have to go.
        FormatError: No model is there.
    """
    import cupel

    if grid.against_model is None:
        return None
    folder = Path(grid.against_model)
    if not (folder / "config.json").is_file():
        raise cupel.FormatError(
            f"{folder}: against_model is a model folder; it has no config.json."
        )
    other = cupel.load_model(folder, dtype=grid.dtype, lazy=True)
    if tokenizer is None:
        check_tokenizers(model, folder)
    check_windows(grid, dense, other)
    counts = (count(dense.tensor_shapes()), count(other.tensor_shapes()))
    weights = linear_weights(dense, grid.skip, grid.only)
    return OtherModel(
        name=model_name(grid.against_model),
        path=str(folder.resolve()),
        fingerprint=other.fingerprint(),
        parameters=counts[1],
        large_parameters=counts[0],
        linear_weights=weights,
        sparsity=parity(*counts, weights) if PARITY in grid.sparsity else None,
    )


def parity(large: int, small: int, weights: int) -> float:
    """The sparsity of `weights` of a model's `large` parameters that leaves `small` of them.

    Raises:
        ValueError: There is none.
    """
    if small >= large:
        raise ValueError(
            "[kick] parity takes weights away until the model has as many as `against_model`, so that one "
            f"is smaller. Got {large:,} parameters, and {small:,} of against_model."
        )
    zeros = large - small
    if zeros > weights:
        raise ValueError(
            f"[kick] parity is reached within the linear layers that are compressed. Got {weights:,} "
            f"weights there, and {large:,} - {small:,} = {zeros:,} would have to go."
        )
    return zeros / weights


def count(shapes: dict[str, list[int]]) -> int:
    """Numbers in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def linear_weights(model: cupel.Model, skip: list[str], only: list[str]) -> int:
    """Weights of the linear layers that `skip` and `only` leave to compress."""
    import cupel

    def chosen(name: str) -> bool:
        left = not only or any(cupel.matches_layer(one, name) for one in only)
        return left and not any(cupel.matches_layer(one, name) for one in skip)

    shapes = model.tensor_shapes()
    return count({name: shapes[f"{name}.weight"] for name in model.linear_names() if chosen(name)})


def check_tokenizers(model: Path, other: Path) -> None:
    """Refuses models of different tokenizers: their tokens, and so their perplexities and prompts,
    are not the same items."""
    import cupel

    from ..cli.arguments import load_tokenizer

    prints = []
    for folder in (model, other):
        made = load_tokenizer(folder)
        if not isinstance(made, cupel.Tokenizer):
            made = cupel.huggingface.Tokenizer(made)
        prints.append(made.fingerprint)
    if prints[0] != prints[1]:
        raise ValueError(
            "[kick] `against_model` has the tokenizer of the model: perplexities over different tokens do "
            f"not compare. Got {prints[0][:16]} in {model} and {prints[1][:16]} in {other}."
        )


def check_windows(grid: KickGrid, dense: cupel.Model, other: cupel.Model) -> None:
    """Refuses a perplexity whose windows would be as long as each model's own positions."""
    positions = [one.config.max_positions for one in (dense, other)]
    for text in grid.tasks:
        name, options = task_options(text)
        open_length = name == "perplexity" and int(options.get("length", 0) or 0) == 0
        if open_length and min(positions) < 2048 and positions[0] != positions[1]:
            raise ValueError(
                "[kick] with `against_model` windows of a perplexity have one length: give "
                f"perplexity:length=N. Got models of {positions[0]} and {positions[1]} positions."
            )
