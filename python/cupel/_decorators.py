"""Decorators that register what users write in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import cupel

Kind = TypeVar("Kind")

if TYPE_CHECKING:
    import torch

    Score = Callable[[torch.Tensor, "cupel.InputStats"], torch.Tensor]
    Fit = Callable[
        [torch.Tensor, "cupel.Grid", torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]
    ]


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


def quantizer(name: str, replace: bool = False) -> Callable[[Fit], Fit]:
    """Registers a function that chooses the scales of grids under `name`, for `Grid(clip=name)`.

        @cupel.quantizer("three_sigma")
        def three_sigma(weight, grid, factor):
            reach = torch.minimum(weight.abs().amax(1), 3 * weight.square().mean(1).sqrt())
            scales = (2 * reach / (2**grid.bits - 1)).clamp_min(1e-12)
            return scales, torch.full_like(scales, 2 ** (grid.bits - 1))

        cupel.compress(model, calibration, cupel.Gptq(cupel.Grid(bits=4, clip="three_sigma")))

    The function is called for each group of columns with (weight, grid, factor): weight float32 [out,
    columns], the Grid, and R [columns, columns] with |dW R|^2 the cost of an error dW of these
    columns, or None where nothing is known of the inputs. It returns (scales [out], zeros [out]), a
    weight being (code - zero) * scale: scales positive, zeros integers in [0, 2^bits).

    Args:
        name: For `Grid.clip` and records.
        replace: Take the place of an earlier quantizer of that name, as when the cell of a notebook
            runs again. Grids that name it use the new one from then on.

    Returns:
        A decorator. It returns the function as it was.

    Raises:
        ValueError: The name is taken and `replace` is False.
    """

    def register(fit: Fit) -> Fit:
        if name in cupel.quantizers():
            if not replace:
                raise ValueError(
                    f"[quantizer] quantizer names are unique. Got {name!r} a second time; "
                    "replace=True takes the place of the earlier one."
                )
            cupel.remove_quantizer(name)
        cupel.add_quantizer(name, fit)
        return fit

    return register


def task(name: str, replace: bool = False) -> Callable[[type[Kind]], type[Kind]]:
    """Registers a subclass of cupel.Task under `name`, for evaluate().

        @cupel.task("capitals")
        class Capitals(cupel.Task):
            info = cupel.TaskInfo("capitals", options={"country": ("France", "only this one")})

            def load(self, path, options):
                return json.loads(Path(path).read_text())

            def requests(self, item, protocol, outputs):
                return [] if outputs else [(item["question"], a) for a in item["answers"]]

            def score(self, item, protocol, outputs):
                best = max(range(len(outputs)), key=lambda i: outputs[i].likelihood.value)
                return cupel.ItemScore({"accuracy": float(best == 0)}, item["answers"][best])

        cupel.evaluate(model, tokenizer, ["capitals:file=capitals.json"])

    Every evaluation makes an object of its own of the class.

    Args:
        name: For evaluate(), tables and records.
        replace: Take the place of an earlier task of that name, as when the cell of a notebook runs
            again.

    Returns:
        A decorator. It returns the class as it was.

    Raises:
        ValueError: The name is taken and `replace` is False.
        TypeError: Not a subclass of cupel.Task.
    """

    def register(kind: type[Kind]) -> type[Kind]:
        if not (isinstance(kind, type) and issubclass(kind, cupel.Task)):
            raise TypeError(f"[task] a task is a subclass of cupel.Task. Got {kind!r}.")
        if name == "perplexity":
            raise ValueError("[task] perplexity is not to be replaced.")
        if name in cupel.tasks():
            if not replace:
                raise ValueError(
                    f"[task] task names are unique. Got {name!r} a second time; replace=True takes "
                    "the place of the earlier one."
                )
            cupel.remove_task(name)
        cupel.add_task(name, kind)
        return kind

    return register
