"""From which level on a task is broken, and from which perplexity shows it.

A series is what one method makes of one kind of level, mild to strong. A level counts when it counts
under every seed that was evaluated; n:m patterns have no order and are only listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .analysis import Analysis, Key, Loss, Row, main_keys
from .grid import Cell, level_text, severity


@dataclass
class Onset:
    """Where something begins within a series."""

    level: str = ""  # "" = at no level that was evaluated
    place: float = float("inf")  # the same as a number that rises from mild to strong
    again: str = ""  # a stronger level at which it does not hold, where there is one
    levels: str = ""  # for patterns: all at which it holds

    def __bool__(self) -> bool:
        return self.level != "" or self.levels != ""


@dataclass
class Series:
    """One method, one kind, one task."""

    method: str
    kind: str  # "sparsity", "bits" or "pattern"
    key: Key
    task: str  # what it is called
    metric: str
    worse: Onset  # a significant loss
    broken: Onset  # a significant loss that is below 95 % of the dense score as well
    rises: Onset  # the perplexity's interval leaves 1
    steep: Onset  # the perplexity is 5 % up
    strongest: str  # level
    missing: list[str]  # levels without a result
    measured: bool  # whether there is a perplexity
    tested: bool  # whether a loss of the task could be told from chance

    @property
    def first(self) -> str:
        """Which comes first, the broken task or a perplexity that is 5 % up: "task", "perplexity",
        "together", "neither", or "" where there is no test, no perplexity or no order."""
        if not (self.measured and self.tested) or self.kind == "pattern":
            return ""
        if not self.broken and not self.steep:
            return "neither"
        if self.broken.place == self.steep.place:
            return "together"
        return "task" if self.broken.place < self.steep.place else "perplexity"

    @property
    def warned(self) -> bool:
        """Whether perplexity had risen significantly no later than the task broke."""
        return bool(self.broken) and self.rises.place <= self.broken.place


def by_level(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of each level, mild to strong; several are seeds."""
    ordered = sorted(cells, key=severity)
    return [list(group) for _, group in groupby(ordered, key=severity)]


def onset(
    levels: Sequence[Sequence[Cell]], value: Callable[[Cell], Any], holds: Callable[[Any], bool]
) -> Onset:
    """The first level at which `holds` is true of every value that is there."""
    found = Onset()
    kind = levels[0][0].kind if levels else ""
    hits = []
    for cells in levels:
        values = [value(cell) for cell in cells]
        values = [one for one in values if one is not None]
        if not values:
            continue
        text = level_text(kind, cells[0].level)
        if all(holds(one) for one in values):
            hits.append(text)
            if found.level == "" and kind != "pattern":
                found.level, found.place = text, severity(cells[0])[0]
        elif found.level and not found.again:
            found.again = text
    if kind == "pattern":
        found.levels = ", ".join(hits)
    return found


def all_series(made: Analysis, main_protocols: bool = True) -> list[Series]:
    """A series for each method, kind and task; with the first protocol of each task alone, or all."""
    keys = list(made.headlines)
    if main_protocols:
        keys = main_keys(made)
    task = made.perplexities[0] if made.perplexities else ""
    found = []
    for kind in ("sparsity", "bits", "pattern"):
        for method in made.grid.methods:
            levels = by_level(made.grid.of(method, kind))
            if not levels:
                continue
            texts = [level_text(kind, cells[0].level) for cells in levels]

            def loss(cell: Cell) -> Loss | None:
                return made.loss(cell, task)

            for key in keys:

                def row(cell: Cell, key: Key = key) -> Row | None:
                    return made.headline(cell, key)

                rows = [one for cells in levels for one in map(row, cells) if one is not None]
                missing = [
                    text
                    for text, cells in zip(texts, levels, strict=True)
                    if all(row(cell) is None for cell in cells)
                ]
                if len(missing) == len(levels):
                    continue
                found.append(
                    Series(
                        method,
                        kind,
                        key,
                        made.label(key[0]),
                        made.headlines[key],
                        worse=onset(levels, row, lambda one: one.worse),
                        broken=onset(levels, row, lambda one: one.broken),
                        rises=onset(levels, loss, lambda one: one.rises),
                        steep=onset(levels, loss, lambda one: one.steep),
                        strongest=[text for text in texts if text not in missing][-1],
                        missing=missing,
                        measured=any(loss(cell) for cells in levels for cell in cells),
                        tested=any(not math.isnan(one.p) for one in rows),
                    )
                )
    return found
