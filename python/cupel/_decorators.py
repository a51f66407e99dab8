"""Decorators that register what users write in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import cupel

if TYPE_CHECKING:
    import torch

    Score = Callable[[torch.Tensor, "cupel.InputStats"], torch.Tensor]


def criterion(
    name: str,
    needs: str | cupel.Needs | Iterable[str] = "none",
    scope: str = "row",
    replace: bool = False,
) -> Callable[[Score], cupel.Criterion]:
    """Makes a function a pruning criterion and registers it under `name`.

        @cupel.criterion("wanda_squared", needs="sq_norm")
        def wanda_squared(weight, stats):
            return weight.square() * stats.sq_norm()

        cupel.compress(model, calibration, cupel.Prune("wanda_squared", cupel.n_of_m(2, 4)))

    Args:
        name: For `Prune(name, ...)`, tables and records.
        needs: The statistics that the function asks for, "none", "sum", "sq_norm", "gram", or a list
            of them. Only these are collected.
        scope: "row" or "matrix", the weights that `unstructured` compares with each other.
        replace: Take the place of an earlier criterion of that name, as when the cell of a notebook
            runs again.

    Returns:
        A decorator. What it returns is the Criterion, which `Prune` takes as well as its name.

    Raises:
        ValueError: The name is taken and `replace` is False.
    """

    def register(score: Score) -> cupel.Criterion:
        made = cupel.Criterion(name, needs, score, scope=scope)
        if name in cupel.criteria():
            if not replace:
                raise ValueError(
                    f"[criterion] criterion names are unique. Got {name!r} a second time; "
                    "replace=True takes the place of the earlier one."
                )
            cupel.remove_criterion(name)
        cupel.add_criterion(made)
        return made

    return register
