"""A judge for all models of a grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cupel

from ._queue import QueueJudge

if TYPE_CHECKING:
    from .._kick.result import CellResult


def judge_grid(
    folder: str | os.PathLike[str],
    judge: cupel.Judge | Callable[[cupel.JudgeRequest], str],
    *,
    mode: str = "single",
    data: Any = None,
    progress: Callable[[str, cupel.Progress], object] | None = None,
    **options: Any,
) -> dict[str, cupel.JudgeResult]:
    """Grades the answers of the dense model and of every finished cell of a grid.

    Replies of all models stand in one journal, GRID/judged/MODE/replies.jsonl, so equal answers are
    graded once and grades differ only where answers do. Scores are written below each model's folder,
    where `cupel report` finds them. The same call goes on after an interruption.

    Args:
        folder: The folder of `cupel kick`.
        judge: As for cupel.judge(). A QueueJudge gets a folder of its own for each model, below its own.
        mode: "single" or "axes" for all models; "pairwise" puts each cell beside the dense model.
        data: Where the tasks' data may be; None = where the grid found them.
        progress: Called with the id of a model and a Progress; False stops.
        **options: Of cupel.judge(), but for `against`, `out` and `replies`.

    Returns:
        Model id ("dense" for the dense one) -> JudgeResult. The pass ends at the first one that lacks
        replies, but for queues.

    Raises:
        ValueError: A grid without a finished dense model or cell; what cupel.judge() refuses.
    """
    from .._kick.result import KickResult

    grid = KickResult(folder)
    results: dict[str, cupel.JudgeResult] = {}
    for one in judged_models(grid, mode):
        queue = isinstance(judge, QueueJudge)
        results[one.id] = cupel.judge(
            one.folder,
            QueueJudge(judge.folder / one.id) if queue else judge,
            mode=mode,
            data=grid_data(grid) if data is None else data,
            against=grid.dense.folder if mode == "pairwise" else None,
            out=one.folder / "judged" / mode,
            replies=None if queue else grid.folder / "judged" / mode / "replies.jsonl",
            progress=progress and (lambda step, name=one.id: progress(name, step)),
            **options,
        )
        if not results[one.id].complete and not queue:
            break
    return results


def judged_models(grid: Any, mode: str) -> Iterator[CellResult]:
    """The finished models of a grid that the mode is about."""
    if grid.dense.status != "done":
        raise ValueError(
            f"[judge_grid] a grid's dense model must be finished. Got {grid.folder}, where it is not."
        )
    cells = [one for one in grid.cells if one.status == "done"]
    if mode != "pairwise":
        yield grid.dense
    elif not cells:
        raise ValueError(f"[judge_grid] pairs need a finished cell. Got none in {grid.folder}.")
    yield from cells


def grid_data(grid: Any) -> list[Path]:
    """The places that kick.json names."""
    from .._kick.options import task_options

    places = [grid.kick.get("data")]
    places += [task_options(task)[1].get("file") for task in grid.kick.get("tasks", [])]
    return [Path(place) for place in places if place]
