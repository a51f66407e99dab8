"""Reads the folder of a grid, or of one evaluation, into cells. Scores stay in their files until
they are asked for: a grid may hold more of them than fit in memory."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .text import many

if TYPE_CHECKING:
    import cupel

KINDS = ("sparsity", "pattern", "bits", "model", "single")


@dataclass
class Cell:
    """One compressed model of a grid, or the dense one."""

    id: str
    folder: Path
    label: str = ""
    name: str = ""  # the label, and the seed where several cells have that label
    method: str = ""  # with several numbers of calibration windows this one's stands in it
    base: str = ""  # the method alone
    windows: int = 0  # of calibration text, where the grid has several numbers of them
    kind: str = "single"  # one of KINDS
    level: float | str | None = None  # 0.5, "2:4", 4, "dense" or None
    seed: int | None = None
    status: str = "done"  # "done", "failed", "not run" or "unreadable"
    why: str = ""  # what a status other than "done" is due to
    record: dict[str, Any] = field(default_factory=dict)  # cell.json
    compression: dict[str, Any] = field(default_factory=dict)  # compression.json
    comparison: dict[str, Any] = field(
        default_factory=dict
    )  # comparison.json, where it alone is left

    @property
    def done(self) -> bool:
        return self.status == "done"

    @property
    def notes(self) -> list[str]:
        """What cell.json notes, and what compression notes of its layers, equal notes once."""
        layers: Counter[str] = Counter()
        for layer in self.compression.get("layers", []):
            layers.update(layer.get("notes", []))
            if layer.get("rungs"):
                layers["more damping than asked, after a factor failed"] += 1
        notes = [str(note) for note in self.record.get("notes", [])]
        return notes + [f"{note} ({many(count, 'layer')})" for note, count in layers.items()]

    def scores(self) -> cupel.EvalResult:
        """Reads scores.json. FormatError when it is no result, OSError when it is not there."""
        import cupel

        path = self.folder / "scores.json"
        return cupel.EvalResult.from_json(path.read_text(encoding="utf-8"), str(path))


@dataclass
class Grid:
    """What a folder holds."""

    folder: Path
    name: str  # of the model
    cells: list[Cell]
    dense: Cell | None
    kick: dict[str, Any] = field(default_factory=dict)  # kick.json; empty for a single evaluation

    @property
    def methods(self) -> list[str]:
        """In the order in which they first appear."""
        return list(dict.fromkeys(cell.method for cell in self.cells))

    def of(self, method: str, kind: str) -> list[Cell]:
        """Cells of one series, those that failed or did not run included."""
        return [cell for cell in self.cells if cell.method == method and cell.kind == kind]


def severity(cell: Cell) -> tuple[float, str]:
    """Sorts levels of one kind from mild to strong."""
    if cell.kind == "sparsity":
        return float(cell.level or 0), ""
    if cell.kind == "bits":
        return -float(cell.level or 0), ""
    return 0.0, str(cell.level)


def level_text(kind: str, level: Any) -> str:
    """50 %, 2:4 or 4 bits."""
    if kind == "sparsity":
        return f"{100 * float(level):.4g} %"
    if kind == "bits":
        return f"{level:g} bit{'' if level == 1 else 's'}"
    return "" if level is None else str(level)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. FormatError naming the file otherwise."""
    import cupel

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise cupel.FormatError(f"{path}: is no JSON text: {error}.") from None
    if not isinstance(value, dict):
        raise cupel.FormatError(f"{path}: must hold a JSON object.")
    return value


def read_grid(folder: Path) -> Grid:
    """Reads DIR of `cupel kick` or of `cupel evaluate --out`.

    Raises:
        ValueError: Nothing in the folder to report on.
        FormatError: A kick.json that is none.
    """
    if not folder.is_dir():
        raise ValueError(f"[report] DIR must be a folder. Got {folder}.")
    if (folder / "kick.json").is_file():
        grid = read_kick(folder)
    elif (folder / "scores.json").is_file():
        grid = read_single(folder)
    else:
        raise ValueError(
            "[report] DIR must hold kick.json (of cupel kick) or scores.json (of cupel evaluate "
            f"--out). Got {folder}, which has neither."
        )
    if not any(cell.done for cell in grid.cells) and not (grid.dense and grid.dense.done):
        raise ValueError(
            f"[report] a grid must have a finished cell. Got {len(grid.cells)} cells in {folder}, "
            "none of them finished, and no dense scores."
        )
    return grid


def read_single(folder: Path) -> Grid:
    """The folder of one evaluation, with its dense one where --against wrote it."""
    name = folder.resolve().name
    cell = Cell("model", folder, label=name, name=name, method=name)
    dense = Cell("dense", folder / "dense", label="dense", name="dense")
    if (dense.folder / "scores.json").is_file():
        return Grid(folder, name, [cell], dense)
    if (folder / "comparison.json").is_file():
        cell.comparison = read_json(folder / "comparison.json")
        return Grid(folder, name, [cell], None)
    # Nothing to compare with: the scores are shown as they are.
    return Grid(folder, name, [], Cell("model", folder, label=name, name=name))


def read_kick(folder: Path) -> Grid:
    """The folder of a grid."""
    import cupel

    path = folder / "kick.json"
    kick = read_json(path)
    if kick.get("cupel_kick") != 1:
        raise cupel.FormatError(
            f"{path}: cupel_kick must be 1. Got {kick.get('cupel_kick')!r}, which this version does "
            "not read."
        )
    cells = []
    several = len({entry.get("samples") for entry in entries(kick) if entry.get("seeded")}) > 1
    for number, entry in enumerate(kick.get("cells", [])):
        try:
            kind = entry["kind"]
            level = str(entry["level"]) if kind in ("pattern", "model") else float(entry["level"])
            windows = int(entry["samples"]) if several and entry.get("seeded") else 0
            cell = Cell(
                str(entry["id"]),
                folder / "cells" / str(entry["id"]),
                label=str(entry.get("label") or entry["id"]),
                method=f"{entry['method']} n={windows}" if windows else str(entry["method"]),
                base=str(entry["method"]),
                windows=windows,
                kind=kind,
                level=level,
                seed=entry.get("seed"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise cupel.FormatError(
                f"{path}: cells[{number}] must have id, method, kind and level ({error!r})."
            ) from None
        if kind not in KINDS or Path(cell.id).name != cell.id:
            raise cupel.FormatError(
                f"{path}: cells[{number}] must have a kind of {', '.join(KINDS[:4])} and an id that "
                f"is a file name. Got {kind!r} and {cell.id!r}."
            )
        cells.append(cell)
    dense = Cell("dense", folder / "dense", label="dense", name="dense", method="dense")
    labels = Counter(cell.label for cell in cells)
    for cell in cells:
        cell.name = cell.label
        if labels[cell.label] > 1:
            cell.name += f", seed {cell.seed}"
    for cell in [dense, *cells]:
        read_record(cell)
    model = kick.get("model", {})
    name = str(model.get("name") or folder.resolve().name)
    return Grid(folder, name, cells, dense, kick)


def entries(kick: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells in kick.json, damaged ones left out."""
    return [entry for entry in kick.get("cells", []) if isinstance(entry, dict)]


def read_record(cell: Cell) -> None:
    """Takes status and sizes from the cell's own files; a damaged one is a status, not an error."""
    import cupel

    if not (cell.folder / "cell.json").is_file():
        cell.status, cell.why = "not run", "has no cell.json: not begun, or not finished"
        return
    try:
        cell.record = read_json(cell.folder / "cell.json")
        if (cell.folder / "compression.json").is_file():
            cell.compression = read_json(cell.folder / "compression.json")
    except (cupel.FormatError, OSError) as error:
        cell.status, cell.why = "unreadable", str(error)
        return
    if cell.record.get("status") != "done":
        cell.status = "failed"
        reasons = [cell.record.get(key) for key in ("error", "reason", "message")]
        known = [str(reason) for reason in reasons if reason] or cell.notes
        cell.why = "; ".join(known) or f"status {cell.record.get('status')!r}"
    elif not (cell.folder / "scores.json").is_file():
        cell.status, cell.why = "unreadable", "is marked as done and has no scores.json"
