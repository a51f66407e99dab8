"""Tables of two experiments within a grid: how much calibration text a method needs, and whether a
smaller dense model does as well as a large compressed one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .analysis import ALPHA, LEVEL, MATCHING, Analysis, wald
from .grid import Cell, level_text
from .onsets import main_keys
from .table import VERDICTS, Entry, Table, task_name, value
from .text import NONE, many, number, p_value, percent, ratio, span

BETTER = {1: "the compressed one", -1: "the small one", 0: "not told apart"}


@dataclass
class Part:
    """A table and what stands over it."""

    title: str
    note: str
    table: Table


@dataclass
class Pair:
    """One value of the small model and of a compressed one."""

    cell: Cell
    name: str  # of the task
    items: str
    small: str
    compressed: str
    difference: str
    interval: str
    p: float
    sign: int  # of a difference whose interval leaves 0: 1 where the compressed model is better


def experiments(made: Analysis) -> list[Part]:
    """Those that the grid holds."""
    if made.experiments is None:
        parts = (samples_part(made), small_part(made))
        made.experiments = [part for part in parts if part and part.table.rows]
    return made.experiments


def samples_part(made: Analysis) -> Part:
    """A row a method, level and task, a column a number of calibration windows."""
    cells = [cell for cell in made.grid.cells if cell.windows]
    counts = list(dict.fromkeys(cell.windows for cell in cells))
    heads = [many(count, "window") for count in counts]
    table = Table(["method", "level", "task", "dense", *heads])
    ways = dict.fromkeys((cell.base, cell.kind, str(cell.level)) for cell in cells)
    for base, kind, level in ways:
        own = [c for c in cells if (c.base, c.kind, str(c.level)) == (base, kind, level)]
        shown = level_text(kind, own[0].level)
        for key in main_keys(made):
            rows = by_count(counts, own, partial(made.headline, key=key))
            first = next((row for of in rows for row in of), None)
            if first is None:
                continue
            entries = [score_entry(of) for of in rows]
            name = f"{task_name(made, key)} ({made.headlines[key]})"
            table.add(base, shown, name, value(first.dense, number(first.dense)), *entries)
        for task in made.perplexities:
            losses = by_count(counts, own, partial(made.loss, task=task))
            first = next((loss for of in losses for loss in of), None)
            if first is None:
                continue
            entries = [mean_entry([loss.compressed for loss in of], 3) for of in losses]
            table.add(
                base, shown, made.label(task), value(first.dense, number(first.dense, 3)), *entries
            )
    note = (
        "The same seed draws nested texts: the windows of a smaller number are the first ones of a larger. "
        "Several seeds: their mean, lowest and highest. Methods that need no text are not listed."
    )
    return Part("How much calibration text", note, table)


def by_count(
    counts: list[int], cells: list[Cell], find: Callable[[Cell], Any | None]
) -> list[list[Any]]:
    """What `find` finds for the cells of each number of windows."""
    found = [[find(cell) for cell in cells if cell.windows == count] for count in counts]
    return [[one for one in of if one] for of in found]


def score_entry(rows: list[Any]) -> Entry:
    """The scores of one number of windows, coloured where all their verdicts are one."""
    entry = mean_entry([row.compressed for row in rows], 3)
    verdicts = {row.verdict for row in rows}
    entry.css = VERDICTS.get(verdicts.pop(), ("", ""))[1] if len(verdicts) == 1 else "open"
    return entry


def mean_entry(values: list[float], digits: int) -> Entry:
    """A mean, with the lowest and the highest where there are several."""
    if not values:
        return Entry(NONE, None, "none")
    mean = sum(values) / len(values)
    text = number(mean, digits)
    if len(values) > 1:
        text += f" ({number(min(values), digits)} to {number(max(values), digits)})"
    return value(mean, text)


def small_part(made: Analysis) -> Part | None:
    """The small model against each compressed one, item by item."""
    import cupel

    small = next((cell for cell in made.grid.cells if cell.kind == "model"), None)
    if small is None or not small.done:
        return None
    scores, pairs = small.scores(), []
    for cell in made.grid.cells:
        if cell is small or not cell.done:
            continue
        try:
            pairs += paired(
                made, cell, cupel.compare(scores, cell.scores(), matching=MATCHING, level=LEVEL)
            )
        except (ValueError, OSError) as error:
            made.problems.setdefault(cell.id, []).append(f"Not compared with {small.name}: {error}")
    tested = [pair for pair in pairs if not math.isnan(pair.p)]
    adjusted = cupel.holm([pair.p for pair in tested]) if tested else []
    holm = {id(pair): p for pair, p in zip(tested, adjusted, strict=True)}
    parameters = small.record.get("nonzero_parameters") or 0
    columns = [
        "model",
        "weights that are not 0",
        "of the small one's",
        "task",
        "items",
        "small, dense",
    ]
    columns += ["compressed", "difference", "95 % interval", "p, adjusted", "better"]
    table = Table(columns)
    for pair in pairs:
        left = pair.cell.record.get("nonzero_parameters")
        p = holm.get(id(pair))
        sure = pair.sign if p is None or p < ALPHA else 0
        table.add(
            pair.cell.name,
            value(left, f"{left:,}" if left else NONE),
            percent(left / parameters, 2) if left and parameters else NONE,
            pair.name, pair.items, pair.small, pair.compressed, pair.difference, pair.interval,
            value(p, p_value(p)),
            Entry(BETTER[sure], None, {1: "yes", -1: "no", 0: "open"}[sure]),
        )  # fmt: skip
    note = (
        f"{small.name} ({parameters:,} weights that are not 0) against every compressed model, on the same "
        "items. Tasks: better where the interval leaves 0 and p, adjusted over this table (Holm), is below "
        "0.05; perplexities: where the interval of the ratio leaves 1. Levels come in steps of whole "
        "weights a row, so a model at parity has about as many."
    )
    if "parity" not in made.grid.kick.get("against_model", {}):
        note += " The grid did not ask for parity, so sizes differ."
    return Part("A small dense model against large compressed ones", note, table)


def paired(made: Analysis, cell: Cell, comparison: Any) -> list[Pair]:
    """The values that stand for tasks, and the perplexities."""
    found = []
    for key in main_keys(made):
        for t in comparison.tasks:
            if (t.task, t.protocol) == key and t.metric == made.headlines[key]:
                found.append(
                    Pair(
                        cell, f"{task_name(made, key)} ({t.metric})", f"{t.items:,}",
                        number(t.dense), number(t.compressed), number(t.difference, 4, True),
                        span(t.low, t.high, 4), wald(t) if math.isnan(t.p) else t.p,
                        (t.low > 0) - (t.high < 0),
                    )
                )  # fmt: skip
    for p in comparison.perplexities:
        found.append(
            Pair(
                cell, made.label(p.task), f"{p.blocks:,}", number(p.dense), ratio(p.compressed),
                f"× {ratio(p.ratio)}", f"{ratio(p.ratio_low)} to {ratio(p.ratio_high)}", math.nan,
                (p.ratio_high < 1) - (p.ratio_low > 1),
            )
        )  # fmt: skip
    return found
