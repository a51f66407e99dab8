"""The tables of results: where tasks break, verdicts, every comparison, changed answers, categories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .analysis import Analysis, Row
from .grid import Cell
from .onsets import Onset, Series
from .table import VERDICTS, Entry, Table, task_name, value
from .text import NONE, known, number, p_value, percent, ratio, span


def onset_text(onset: Onset, strongest: str, kind: str) -> str:
    """From 50 % / never, to 70 %."""
    if kind == "pattern":
        return onset.levels or "none"
    if not onset:
        return f"never (to {strongest})"
    return f"{onset.level} (not at {onset.again})" if onset.again else onset.level


FIRST = {"task": "task", "perplexity": "perplexity", "together": "same level", "neither": "neither"}


def onset_table(made: Analysis, series: Iterable[Series]) -> Table:
    """Where each task breaks, beside where perplexity shows it."""
    table = Table(
        [
            "method",
            "task",
            "significant loss from",
            "broken from",
            "perplexity: interval above 1 from",
            "perplexity: +5 % from",
            "first",
            "no result at",
        ]
    )
    kinds = {"sparsity": "sparsity", "bits": "bits", "pattern": "n:m"}
    for one in series:
        texts = [
            onset_text(which, one.strongest, one.kind)
            for which in (one.worse, one.broken, one.rises, one.steep)
        ]
        if not one.measured:
            texts[2:] = [NONE, NONE]
        if not one.tested:
            texts[:2] = ["not known"] * 2
        table.add(
            f"{one.method}, {kinds[one.kind]}",
            f"{task_name(made, one.key)} ({one.metric})",
            texts[0],
            Entry(texts[1], None, "no" if one.broken else "yes" if one.tested else "open"),
            texts[2],
            texts[3],
            Entry(FIRST.get(one.first, NONE), None, f"first-{one.first}"),
            ", ".join(one.missing) or NONE,
        )
    return table


def verdict_matrix(made: Analysis) -> Table:
    """A row a cell, a column a task: the verdict and what is left of the dense score."""
    table = Table(
        [
            "model",
            *(task_name(made, key) for key in made.headlines),
            *map(made.label, made.perplexities),
        ]
    )
    for cell in made.grid.cells:
        entries = [Entry(cell.name)]
        for key in made.headlines:
            row = made.headline(cell, key)
            entries.append(verdict_entry(row) if row else Entry(cell_state(cell), None, "none"))
        for task in made.perplexities:
            loss = made.loss(cell, task)
            text = f"× {ratio(loss.ratio)}" if loss else cell_state(cell)
            css = "" if not loss else "no" if loss.steep else "yes"
            entries.append(Entry(text, loss.ratio if loss else None, css if loss else "none"))
        table.rows.append(entries)
    return table


def cell_state(cell: Cell) -> str:
    """Why a cell has no value."""
    return NONE if cell.done else cell.status


def verdict_entry(row: Row) -> Entry:
    """✓ 98.2 %."""
    symbol, css = VERDICTS.get(row.verdict, (NONE, "none"))
    if row.dense == 0:
        return Entry("dense 0", None, "none")
    if row.reason == "no paired data":
        symbol = "? (no paired data)"
    return Entry(f"{symbol} {percent(row.kept)}", row.kept if known(row.kept) else None, css)


def comparison_table(made: Analysis) -> Table:
    """Every value of every cell."""
    table = Table(
        [
            "model", "task", "value", "items", "dense", "compressed", "difference",
            "95 % interval", "p", "p, whole grid", "right→wrong", "wrong→right", "changed, still wrong",
            "kept", "score alone ≥ 95 %", "verdict",
        ]
    )  # fmt: skip
    for row in made.rows:
        flips = row.flips
        reason = f": {row.reason}" if row.reason and row.reason != "too few items" else ""
        css = VERDICTS.get(row.verdict, ("", "none"))[1]
        table.add(
            row.cell.name,
            task_name(made, row.key),
            row.metric,
            value(row.items, f"{row.items:,}" if row.items else NONE),
            value(row.dense, number(row.dense, 4)),
            value(row.compressed, number(row.compressed, 4)),
            value(row.difference, number(row.difference, 4, True)),
            value(row.low, span(row.low, row.high, 4)),
            value(row.p, p_value(row.p)),
            value(row.p_grid, p_value(row.p_grid), "no" if row.worse else ""),
            *flip_entries(flips),
            value(row.kept, percent(row.kept)),
            "yes" if row.point else "no",
            Entry((row.verdict or "no rule below 0") + reason, None, css),
        )
    return table


def flip_entries(flips: Any) -> list[Entry]:
    """Right to wrong, wrong to right, other wrong answer."""
    if flips is None:
        return [Entry(NONE)] * 3
    counts = (flips.right_to_wrong, flips.wrong_to_right, flips.changed_wrong)
    return [value(count, f"{count:,}") for count in counts]


def flip_table(made: Analysis) -> Table:
    """Changed answers of the values that stand for their tasks."""
    table = Table(
        ["model", "task", "items", "right→wrong", "wrong→right", "changed, still wrong", "net", "flipped"]
    )  # fmt: skip
    for row in made.rows:
        if row.headline and row.flips is not None:
            table.add(
                row.cell.name,
                task_name(made, row.key),
                value(row.items, f"{row.items:,}"),
                *flip_entries(row.flips),
                value(row.difference, number(row.difference, 3, True)),
                value(flip_rate(row), percent(flip_rate(row))),
            )
    return table


def flip_rate(row: Row) -> float:
    """Share of the items that changed between right and wrong."""
    return (row.flips.right_to_wrong + row.flips.wrong_to_right) / row.items


def perplexity_table(made: Analysis) -> Table:
    """Every perplexity of every cell."""
    table = Table(
        ["model", "task", "protocol", "blocks", "dense", "compressed", "ratio", "95 % interval of the ratio", "loss difference, nats", "above 1"]
    )  # fmt: skip
    for loss in made.losses:
        table.add(
            loss.cell.name,
            made.label(loss.task),
            loss.protocol,
            value(loss.blocks, f"{loss.blocks:,}"),
            value(loss.dense, number(loss.dense, 3)),
            value(loss.compressed, ratio(loss.compressed)),
            value(loss.ratio, ratio(loss.ratio), "no" if loss.steep else ""),
            value(loss.ratio_low, f"{ratio(loss.ratio_low)} to {ratio(loss.ratio_high)}")
            if known(loss.ratio_low)
            else Entry(NONE),
            value(loss.difference, number(loss.difference, 4, True)),
            "yes" if loss.rises else "no" if known(loss.low) else "one block",
        )
    return table


def category_tables(made: Analysis) -> list[Table]:
    """Heat maps: the change of each category, a column a cell."""
    tables = []
    for key in made.headlines:
        parts = {
            cell.id: made.categories[cell.id][key]
            for cell in made.grid.cells
            if key in made.categories.get(cell.id, {})
        }
        names = sorted({name for found in parts.values() for name in found})
        if len(names) < 2:
            continue
        cells = [cell for cell in made.grid.cells if cell.id in parts]
        table = Table(["category", "items", "dense", *(cell.name for cell in cells)])
        table.name = f"{task_name(made, key)}: {made.headlines[key]}"
        for name in names:
            some = next(found[name] for found in parts.values() if name in found)
            entries = [
                Entry(name or "(no category)"),
                value(some.items, f"{some.items:,}" if some.items else NONE),
                value(some.dense, number(some.dense)),
            ]
            for cell in cells:
                one = parts[cell.id].get(name)
                if one is None:
                    entries.append(Entry(NONE, None, "none"))
                    continue
                change = one.compressed - one.dense
                css = heat(change / one.dense if one.dense > 0 else change)
                entries.append(
                    value(change, number(change, 3, True), css + (" noise" if one.noise else ""))
                )
            table.rows.append(entries)
        tables.append(table)
    return tables


def heat(change: float) -> str:
    """A class from h-4 (half of the dense score is lost) to h4, by the relative change."""
    step = max(-4, min(4, round(change * 8)))
    return f"heat h{step}"
