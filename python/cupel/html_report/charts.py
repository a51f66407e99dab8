"""The charts: what is left of each score against sparsity, and the same for patterns and bits.

Scores are drawn relative to the dense one, so that every task and perplexity (dense / compressed,
which falls as the model gets worse) share one axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from .analysis import FLAT, MATCHING, Analysis, Key, Loss, Row
from .grid import Cell, level_text, severity
from .onsets import by_level
from .svg import Frame, legend_mark, log_ticks, mark, ticks, wrap
from .text import number, percent, ratio

WIDTH, HEIGHT = 360, 250


@dataclass
class Panel:
    """One chart and what stands over it."""

    title: str
    subtitle: str
    svg: Markup


@dataclass
class Point:
    """A level of one method: the mean over its seeds, the outermost bounds, the seeds."""

    x: float
    mean: float
    low: float
    high: float
    seeds: list[tuple[float, str]]


def legend(made: Analysis, kinds: tuple[str, ...]) -> list[tuple[Markup, str]]:
    """Marks and names of the methods that have cells of such kinds."""
    return [
        (legend_mark(index), method)
        for index, method in enumerate(made.grid.methods)
        if any(made.grid.of(method, kind) for kind in kinds)
    ]


def share(row: Row) -> tuple[float, float, float]:
    """What is left of the dense score, and its interval."""
    return row.kept, 1 + row.low / row.dense, 1 + row.high / row.dense


def inverse(loss: Loss) -> tuple[float, float, float]:
    """The same of a perplexity: dense / compressed."""
    if not math.isfinite(loss.ratio):
        return 0.0, 0.0, 0.0
    return 1 / loss.ratio, 1 / loss.ratio_high, 1 / loss.ratio_low


def points(made: Analysis, method: str, key: Key | None, task: str) -> list[Point]:
    """Of one method over sparsity: of a task's headline, or of the perplexity `task`."""
    found = []
    for cells in by_level(made.grid.of(method, "sparsity")):
        values, seeds = [], []
        for cell in cells:
            if key is not None:
                row = made.headline(cell, key)
                value = share(row) if row is not None and row.dense > 0 else None
                text = tip(cell, row) if value else ""
            else:
                loss = made.loss(cell, task)
                value = inverse(loss) if loss else None
                text = f"{cell.name}: perplexity {number(loss.compressed)}" if loss else ""
            if value and math.isfinite(value[0]):
                values.append(value)
                seeds.append((value[0], text))
        if values:
            mean = sum(value[0] for value in values) / len(values)
            low = min(value[1] for value in values)
            high = max(value[2] for value in values)
            found.append(Point(float(cells[0].level or 0), mean, low, high, seeds))
    return found


def tip(cell: Cell, row: Row) -> str:
    """What a point says when the mouse rests on it."""
    return (
        f"{cell.name}: {row.metric} {number(row.compressed)}, {percent(row.kept)} of dense, "
        f"difference {number(row.low, 3, True)} to {number(row.high, 3, True)}"
    )


def sparsity_panels(made: Analysis, keys: list[Key]) -> list[Panel]:
    """A panel a task: a line a method, its band, and its perplexity in dashes."""
    task = made.perplexities[0] if made.perplexities else ""
    methods = [
        (index, method, points(made, method, None, task) if task else [])
        for index, method in enumerate(made.grid.methods)
        if made.grid.of(method, "sparsity")
    ]
    found = []
    for key in keys:
        lines = [(i, points(made, method, key, ""), dashes) for i, method, dashes in methods]
        if any(line for _, line, _ in lines):
            found.append(task_panel(made, key, lines))
    return found


def x_axis(lines: list[list[Point]]) -> tuple[tuple[float, float], list[tuple[float, str]]]:
    """From 0 to the strongest level, a tick where a level is unless they stand too close."""
    levels = sorted({point.x for line in lines for point in line} | {0.0})
    top = max(levels[-1], 0.01)
    spread: list[float] = []
    for level in levels:
        if not spread or level - spread[-1] >= 0.09 * top:
            spread.append(level)
    return (0.0, top), [(level, f"{100 * level:.3g}") for level in spread]


def shares_range(shares: list[float]) -> tuple[float, float]:
    """An axis for shares of the dense score: from 0, or from nearer where all of them are high."""
    known = [share for share in shares if math.isfinite(share)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    floor = math.floor(10 * min(low, 0.9)) / 10 if low >= 0.5 else 0.0
    return floor, min(max(1.02, high), 2.0)


def task_panel(
    made: Analysis, key: Key, lines: list[tuple[int, list[Point], list[Point]]]
) -> Panel:
    """One task over sparsity."""
    x_range, x_ticks = x_axis([line for _, line, _ in lines])
    drawn = [point for _, line, dashes in lines for point in [*line, *dashes]]
    y_range = shares_range([value for p in drawn for value in (p.mean, p.low, p.high)])
    frame = Frame(WIDTH, HEIGHT, 44, 10, 10, 38, x_range, y_range)
    y_ticks = [(t, f"{100 * t:.3g} %") for t in ticks(*y_range)]
    parts = frame.axes(x_ticks, y_ticks, "sparsity, %")
    parts.append(frame.line([(0, MATCHING), (x_range[1], MATCHING)], "rule"))
    for index, line, dashes in lines:
        start = [Point(0.0, 1.0, 1.0, 1.0, [])] if not line or line[0].x > 0 else []
        bounded = [p for p in start + line if math.isfinite(p.low)]
        parts.append(frame.band([(p.x, p.low, p.high) for p in bounded], f"band s{index % 8}"))
        dashed = [(p.x, p.mean) for p in [Point(0.0, 1.0, 1.0, 1.0, []), *dashes]]
        parts.append(frame.line(dashed, f"line dash s{index % 8}"))
        parts.append(frame.line([(p.x, p.mean) for p in start + line], f"line s{index % 8}"))
    for index, line, _ in lines:
        parts += [
            mark(index, frame.x(point.x), frame.y(value), text)
            for point in line
            for value, text in point.seeds
        ]
    row = next(row for row in made.rows if row.key == key and row.headline)
    protocol = f", protocol {key[1]}" if key[1] != "strict" else ""
    subtitle = f"{row.metric}{protocol}; dense {number(row.dense)}"
    subtitle += f", {row.items:,} items" if row.items else ""
    name = made.label(key[0])
    label = f"{name}: share of the dense {row.metric} against sparsity"
    return Panel(name, subtitle, wrap(WIDTH, HEIGHT, label, parts))


def perplexity_panels(made: Analysis) -> list[Panel]:
    """A panel a perplexity: its ratio to the dense one over sparsity, on a log axis."""
    found = []
    for task in made.perplexities:
        lines = [
            (index, points(made, method, None, task))
            for index, method in enumerate(made.grid.methods)
        ]
        if not any(line for _, line in lines):
            continue
        x_range, x_ticks = x_axis([line for _, line in lines])
        values = [1 / p.low for _, line in lines for p in line if p.low > 0]
        top = max([1.1, *values, *(1 / p.mean for _, line in lines for p in line if p.mean > 0)])
        low = min([1.0, *(1 / p.high for _, line in lines for p in line if p.high > 0)])
        frame = Frame(WIDTH, HEIGHT, 44, 10, 10, 38, x_range, (low, top), log_y=True)
        parts = frame.axes(x_ticks, [(t, f"{t:.4g}") for t in log_ticks(top)], "sparsity, %")
        parts.append(frame.line([(0, FLAT), (x_range[1], FLAT)], "rule"))
        for index, line in lines:
            whole = [p for p in line if p.mean > 0]
            start = [Point(0.0, 1.0, 1.0, 1.0, [])] if whole and whole[0].x > 0 else []
            band = [(p.x, 1 / p.high, 1 / p.low) for p in start + whole if p.low > 0]
            parts.append(frame.band(band, f"band s{index % 8}"))
            parts.append(
                frame.line([(p.x, 1 / p.mean) for p in start + whole], f"line s{index % 8}")
            )
            parts += [
                mark(index, frame.x(p.x), frame.y(1 / value), text)
                for p in whole
                for value, text in p.seeds
            ]
        loss = next(loss for loss in made.losses if loss.task == task)
        subtitle = f"compressed / dense (dense {number(loss.dense, 2)}, protocol {loss.protocol})"
        name = made.label(task)
        label = f"{name}: ratio to the dense perplexity against sparsity"
        found.append(Panel(name, subtitle, wrap(WIDTH, HEIGHT, label, parts)))
    return found


def forest_panels(made: Analysis, keys: list[Key]) -> list[Panel]:
    """A panel a task for what has no sparsity: a line a cell, by bits a weight."""
    cells = [cell for cell in made.grid.cells if cell.kind != "sparsity" and cell.done]
    cells.sort(key=lambda cell: (-float(cell.record.get("bits_per_weight") or 0), severity(cell)))
    task = made.perplexities[0] if made.perplexities else ""
    found = []
    for key in keys:
        rows = [(cell, made.headline(cell, key)) for cell in cells]
        rows = [(cell, row) for cell, row in rows if row is not None and row.dense > 0]
        if rows:
            found.append(forest(made, key, rows, task))
    return found


def forest(made: Analysis, key: Key, rows: list[tuple[Cell, Row]], task: str) -> Panel:
    """Marks with whiskers, one cell below the other."""
    losses = [made.loss(cell, task) for cell, _ in rows]
    step, head = 22, 8
    height = head + step * len(rows) + 38
    drawn = [value for _, row in rows for value in share(row)]
    low_end, top = shares_range(drawn + [inverse(loss)[0] for loss in losses if loss])
    frame = Frame(WIDTH, height, 158, 12, head, 38, (low_end, top), (0.0, 1.0))
    parts = frame.axes(
        [(t, f"{100 * t:.3g}") for t in ticks(low_end, top, 4)], [], "% of the dense score"
    )
    for value, css in ((1.0, "grid"), (MATCHING, "rule")):
        parts.append(f'<path class="{css}" d="M{frame.x(value):.1f} {head}V{height - 38}"/>')
    methods = made.grid.methods
    for place, ((cell, row), loss) in enumerate(zip(rows, losses, strict=True)):
        y = head + step * (place + 0.5)
        index = methods.index(cell.method)
        bits = cell.record.get("bits_per_weight")
        text = cell.name if len(cell.name) <= 18 else cell.name[:17] + "…"
        parts.append(label_text(4, y, text, "row-label"))
        parts.append(label_text(150, y, f"{bits:.2f}" if bits else "", "tick", "end"))
        kept, low, high = share(row)
        if math.isfinite(low):
            left, right = frame.x(min(low, top)), frame.x(min(high, top))
            parts.append(f'<path class="line s{index % 8}" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        if loss is not None:
            x = frame.x(min(inverse(loss)[0], top))
            title = f"perplexity: {ratio(loss.ratio)} times the dense one"
            parts.append(mark(index, x, y, title, css="mark hollow"))
        parts.append(mark(index, frame.x(min(kept, top)), y, tip(cell, row)))
    row = rows[0][1]
    subtitle = f"{row.metric}; dense {number(row.dense)}" + (
        f", {row.items:,} items" if row.items else ""
    )
    name = made.label(key[0])
    label = f"{name}: share of the dense {row.metric} for each pattern and bit width"
    return Panel(name, subtitle, wrap(WIDTH, height, label, parts))


def label_text(x: float, y: float, text: str, css: str, anchor: str = "start") -> str:
    """A line of text in an SVG, escaped."""
    from markupsafe import escape

    from .text import visible

    shown = escape(visible(text))
    return f'<text class="{css}" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{shown}</text>'


def kinds_text(made: Analysis) -> str:
    """Names of the levels that the forest holds."""
    levels = {
        (cell.kind, level_text(cell.kind, cell.level)): None
        for cell in made.grid.cells
        if cell.kind in ("pattern", "bits")
    }
    return ", ".join(text for _, text in sorted(levels))
