"""The tables on models and data: flags, seeds, what the items can tell apart, sizes, plain scores."""

from __future__ import annotations

import math

from .analysis import Analysis
from .grid import level_text, severity
from .onsets import by_level, main_keys
from .table import VERDICTS, Entry, Table, task_name, value
from .text import NONE, count_bytes, known, number, percent


def flag_table(made: Analysis) -> Table:
    """Shares of items with a flag: degenerate and cut output."""
    names = sorted({name for own in made.flags.values() for part in own.values() for name in part})
    table = Table(["model", "task", *(name.replace("_", " ") for name in names)])
    cells = [*([made.grid.dense] if made.grid.dense else []), *made.grid.cells]
    for cell in cells:
        for (task, protocol), shares in made.flags.get(cell.id, {}).items():
            if names and any(
                (task, protocol) in own and own[task, protocol] for own in made.flags.values()
            ):
                table.add(
                    cell.name,
                    task_name(made, (task, protocol)),
                    *(value(shares.get(name, 0.0), percent(shares.get(name, 0.0))) for name in names),
                )  # fmt: skip
    return table


def seed_table(made: Analysis) -> Table:
    """Levels with several seeds: how far apart their scores lie."""
    table = Table(
        ["method", "level", "task", "seeds", "lowest", "mean", "highest", "std. deviation"]
    )
    for method in made.grid.methods:
        for kind in ("sparsity", "pattern", "bits"):
            for cells in by_level(made.grid.of(method, kind)):
                for key in main_keys(made):
                    rows = [row for row in (made.headline(cell, key) for cell in cells) if row]
                    if len(rows) < 2:
                        continue
                    scores = [row.compressed for row in rows]
                    mean = sum(scores) / len(scores)
                    square = sum((score - mean) ** 2 for score in scores)
                    deviation = math.sqrt(square / (len(scores) - 1))
                    table.add(
                        method,
                        level_text(kind, cells[0].level),
                        f"{task_name(made, key)} ({made.headlines[key]})",
                        value(len(scores), str(len(scores))),
                        *(value(v, number(v, 4)) for v in (min(scores), mean, max(scores), deviation)),
                    )  # fmt: skip
    return table


def resolution_table(made: Analysis) -> Table:
    """What each task's items can tell apart."""
    table = Table(
        ["task", "items", "dense", "matching allows a loss of", "smallest detectable change", "enough for the rule"]
    )  # fmt: skip
    for key in made.headlines:
        rows = [
            row for row in made.rows if row.key == key and row.headline and known(row.detectable)
        ]
        if not rows:
            continue
        sizes = [row.detectable for row in rows]
        low, high, allowed = min(sizes), max(sizes), 0.05 * rows[0].dense
        enough = "yes" if high <= allowed else "no" if low > allowed else "for some models"
        table.add(
            f"{task_name(made, key)} ({made.headlines[key]})",
            value(rows[0].items, f"{rows[0].items:,}"),
            value(rows[0].dense, number(rows[0].dense)),
            value(allowed, number(allowed)),
            value(high, number(low) if low == high else f"{number(low)} to {number(high)}"),
            Entry(enough, None, "yes" if enough == "yes" else "open"),
        )
    return table


def size_table(made: Analysis) -> Table:
    """Sizes, time and what the weights look like."""
    table = Table(
        [
            "model", "status", "zeros", "bits a weight", "written (dense)", "packed (computed)",
            "of dense", "mean layer error", "compressed in, s", "evaluated in, s",
        ]
    )  # fmt: skip
    dense = made.grid.dense
    base = dense.record.get("weight_bytes") if dense else None
    for cell in [*([dense] if dense else []), *made.grid.cells]:
        record, seconds = cell.record, cell.record.get("seconds") or {}
        packed = record.get("packed_bytes")
        layers = cell.compression.get("layers", [])
        errors = [x["relative_error"] for x in layers if known(x.get("relative_error"))]
        error = sum(errors) / len(errors) if errors else None
        table.add(
            cell.name,
            Entry(cell.status, None, "" if cell.done else "no"),
            value(record.get("sparsity"), percent(record.get("sparsity"), 2)),
            value(record.get("bits_per_weight"), number(record.get("bits_per_weight"), 3)),
            value(record.get("weight_bytes"), count_bytes(record.get("weight_bytes"))),
            value(packed, count_bytes(packed)),
            percent(packed / base) if packed and base else NONE,
            value(error, number(error, 4)),
            value(seconds.get("compress"), number(seconds.get("compress"), 1)),
            value(seconds.get("evaluate"), number(seconds.get("evaluate"), 1)),
        )
    return table


def score_tables(made: Analysis) -> list[Table]:
    """The table of the paper: a row a task and method, a column a sparsity."""
    tables = []
    for kind in ("sparsity", "pattern", "bits"):
        cells = sorted((c for c in made.grid.cells if c.kind == kind), key=severity)
        levels = list(dict.fromkeys(level_text(kind, cell.level) for cell in cells))
        table = Table(["task", "method", "dense", *levels], name=kind)
        for key in made.headlines:
            for method in made.grid.methods:
                rows = [row for row in made.rows if row.key == key and row.headline]
                own = [row for row in rows if (row.cell.method, row.cell.kind) == (method, kind)]
                if not own:
                    continue
                entries = []
                for level in levels:
                    at = [row for row in own if level_text(kind, row.cell.level) == level]
                    mean = sum(row.compressed for row in at) / len(at) if at else math.nan
                    verdicts = {row.verdict for row in at}
                    css = (
                        VERDICTS.get(verdicts.pop(), ("", ""))[1] if len(verdicts) == 1 else "open"
                    )
                    entries.append(value(mean, number(mean), css if at else "none"))
                name = f"{task_name(made, key)} ({made.headlines[key]})"
                table.add(name, method, value(own[0].dense, number(own[0].dense)), *entries)
        if table.rows:
            tables.append(table)
    return tables


def plain_scores(made: Analysis) -> Table:
    """The metrics of one model, where there is nothing to compare them with."""
    table = Table(["task", "protocol", "metric", "value"])
    metrics = made.dense.metrics if made.dense is not None else {}
    for task, protocols in metrics.items():
        for protocol, values in protocols.items():
            for metric, score in values.items():
                if "/" not in metric:
                    table.add(made.label(task), protocol, metric, value(score, number(score, 4)))
    return table
