"""What a grid came to, read from its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..html_report.parts import HEADLINES
from .folder import CELL, COMPARISON, COMPRESSION, KICK, SCORES, read_json
from .grid import DENSE, KickCell
from .labels import Shown

if TYPE_CHECKING:
    import pandas

    import cupel

# What stands for a task in a table with one column a task, in this order; else its first value.
PREFERRED = ("perplexity", *HEADLINES)

Metrics = dict[str, dict[str, dict[str, float]]]


@dataclass
class CellResult:
    """One model of a grid: the dense one (`cell` is None) or a compressed one.

    `status` is "waiting", "running", "done" or "failed"; `info` is what cell.json holds.
    """

    cell: KickCell | None
    folder: Path
    status: str = "waiting"
    info: dict[str, Any] = field(default_factory=dict)
    _metrics: Metrics | None = None

    @property
    def id(self) -> str:
        """Its name in the grid."""
        return DENSE if self.cell is None else self.cell.id

    @property
    def label(self) -> str:
        """Method and level in words."""
        return DENSE if self.cell is None else self.cell.label

    @property
    def error(self) -> str:
        """What failed, in which step and why; "" if nothing did."""
        return self.info.get("error", "")

    @property
    def seconds(self) -> float:
        """What it took, compression and scoring, in the process that ended it."""
        return sum(self.info.get("seconds", {}).values())

    @property
    def scores(self) -> cupel.EvalResult:
        """Its scores, item by item; read from the disk at each use."""
        import cupel

        path = self.folder / SCORES
        return cupel.EvalResult.from_json(path.read_text(encoding="utf-8"), str(path))

    @property
    def metrics(self) -> Metrics:
        """metrics[task][protocol][metric]; empty before it is done."""
        if self._metrics is None and self.status == "done":
            self._metrics = read_json(self.folder / SCORES)["metrics"]
        return self._metrics or {}

    @property
    def compression(self) -> dict[str, Any]:
        """What CompressionResult.to_json() said, layer by layer."""
        return read_json(self.folder / COMPRESSION)

    def read(self) -> None:
        """Looks at the disk: done and failed cells have a cell.json."""
        if (self.folder / CELL).is_file():
            self.info = read_json(self.folder / CELL)
            self.status = self.info["status"]


class KickResult:
    """The results in the folder of a grid, finished or not.

    Args:
        folder: What cupel.kick() or `cupel kick` wrote.

    Attributes:
        folder: The folder.
        kick: What kick.json holds.
        shown: Labels of tasks and the values chosen for them.
        dense: CellResult of the dense model.
        cells: CellResults of the compressed models, in the order of the grid.

    Raises:
        FormatError: No grid is there.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.kick: dict[str, Any] = read_json(self.folder / KICK)
        self.shown = Shown(self.kick)
        self.dense = CellResult(None, self.folder / DENSE)
        cells = (KickCell(**cell) for cell in self.kick["cells"])
        self.cells = [CellResult(cell, self.folder / "cells" / cell.id) for cell in cells]
        for one in (self.dense, *self.cells):
            one.read()

    def __repr__(self) -> str:
        done = sum(one.status == "done" for one in self.cells)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<KickResult {self.folder}: {done} of {len(self.cells)} cells done{failed}>"

    def __getitem__(self, name: str) -> CellResult:
        """The cell with this id; "dense" is the dense model."""
        for one in (self.dense, *self.cells):
            if one.id == name:
                return one
        raise KeyError(name)

    @property
    def failed(self) -> list[CellResult]:
        """Cells that failed."""
        return [one for one in self.cells if one.status == "failed"]

    def comparison(self, name: str, against: str = DENSE) -> cupel.Comparison:
        """The cell `name` against the dense model, or against the cell `against`, item by item."""
        import cupel

        return cupel.compare(self[against].scores, self[name].scores)

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row a cell, task, protocol and value; cells that are not done have one row.

        Columns: id, method, kind, level, label, seed, status, sparsity, bits_per_weight, packed_bytes,
        task, task_label, protocol, metric, dense, compressed, difference (compressed - dense) with its 95 %
        interval low .. high, p_holm, verdict; of a perplexity ratio with ratio_low .. ratio_high, and
        no interval of the difference. What does not apply is NaN or None.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ImportError(
                "[to_pandas] pandas is needed and not installed: pip install pandas; to_markdown() "
                "works without it."
            ) from None
        columns = (
            "id method kind level label seed status sparsity bits_per_weight packed_bytes task "
        )
        columns += (
            "task_label protocol metric dense compressed difference low high p_holm verdict ratio "
        )
        columns += "ratio_low ratio_high"
        rows = [row for one in self.cells for row in paired_rows(one)]
        for row in rows:
            if "task" in row:
                row["task_label"] = self.shown.label(row["task"])
        return pandas.DataFrame(rows, columns=columns.split())

    def to_markdown(self) -> str:
        """A table with a row a model and a column a task: its value and the change from dense."""
        columns, rows = self.table()
        lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
        escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
        return "".join(f"| {' | '.join(line)} |\n" for line in escaped)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of to_markdown(), as text."""
        shown = headline(self.dense.metrics, self.shown)
        columns = ["model", "seed", "zeros", "bits", *shown, "status"]
        rows = [self.row(one, shown) for one in (self.dense, *self.cells)]
        return columns, rows

    def row(self, one: CellResult, shown: dict[str, tuple[str, str, str]]) -> list[str]:
        """A row of table() with the columns `shown`, from headline()."""
        done = one.status == "done"
        seed = str(one.cell.seed) if one.cell and one.cell.seeded else "-"
        zeros = f"{one.info['sparsity']:.1%}" if done else ""
        bits = f"{one.info['bits_per_weight']:.3g}" if done else ""
        values = [value_text(one, self.dense, key) if done else "" for key in shown.values()]
        return [one.label, seed, zeros, bits, *values, one.status]


def headline(metrics: Metrics, shown: Shown | None = None) -> dict[str, tuple[str, str, str]]:
    """Column name -> (task, protocol, metric): the value that stands for each task and protocol. Where
    one was chosen, the protocols that lack it are left out."""
    shown = Shown({}) if shown is None else shown
    columns = {}
    for task in sorted(metrics, key=shown.place):
        chosen, protocols = shown.value(task), metrics[task]
        holds = [protocol for protocol, values in protocols.items() if chosen in values]
        for protocol in holds or protocols:
            plain = [
                name
                for name in protocols[protocol]
                if "/" not in name and not name.startswith("flag_") and name != "items"
            ]
            best = next((name for name in PREFERRED if name in plain), plain[0] if plain else "")
            best = chosen if holds else best
            if best:
                names = [shown.label(task), protocol if len(holds or protocols) > 1 else ""]
                if best != task and not shown.labelled(task):
                    names.append(best)
                columns[" ".join(name for name in names if name)] = (task, protocol, best)
    return columns


def value_text(one: CellResult, dense: CellResult, key: tuple[str, str, str]) -> str:
    """A value and its change from the dense model's."""

    def value(metrics: Metrics) -> float | None:
        task, protocol, metric = key
        return metrics.get(task, {}).get(protocol, {}).get(metric)

    own, base = value(one.metrics), value(dense.metrics)
    if own is None:
        return "-"
    text = f"{own:.4g}" if key[2] == "perplexity" else f"{own:.4f}"
    if one is dense or base is None:
        return text
    if key[2] == "perplexity":
        return f"{text} (x{own / base:.3f})"
    return f"{text} ({own - base:+.4f})"


def paired_rows(one: CellResult) -> list[dict[str, Any]]:
    """The rows of to_pandas() for a cell."""
    cell = one.cell
    names = ("id", "method", "kind", "level", "label", "seed")
    start = {name: getattr(cell, name) for name in names} | {"status": one.status}
    start |= {key: one.info.get(key) for key in ("sparsity", "bits_per_weight", "packed_bytes")}
    if one.status != "done":
        return [start]
    made = read_json(one.folder / COMPARISON)
    rows = []
    for pair in made["perplexities"]:
        row = {key: pair[key] for key in ("task", "protocol", "dense", "compressed", "ratio")}
        row["metric"] = "perplexity"
        row["difference"] = pair["compressed"] - pair["dense"]
        row["ratio_low"], row["ratio_high"] = pair["ratio_interval"]
        rows.append(start | row)
    keys = ("task", "protocol", "metric", "dense", "compressed", "difference", "p_holm", "verdict")
    for pair in made["tasks"]:
        row = {key: pair[key] for key in keys}
        row["low"], row["high"] = pair["interval"]
        rows.append(start | row)
    return rows
