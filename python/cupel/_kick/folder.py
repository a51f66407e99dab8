"""The folder of a grid: what is written there, how, and when a run may go on in it.

kick.json                   the grid; written before anything runs
dense/, cells/ID/           cell.json (written last), scores.json, records/
cells/ID/                   compression.json, comparison.json, and model/ if it is kept
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .grid import KickCell, KickGrid
from .labels import shown_entry
from .options import task_options

KICK, CELL, SCORES = "kick.json", "cell.json", "scores.json"
COMPRESSION, COMPARISON = "compression.json", "comparison.json"

# Parts of kick.json that may differ: where things are, since what they hold is compared by hashes.
PLACES = {"model.name", "model.path", "data", "environment"}
PLACES |= {"settings.text", "settings.calibration.file"}
PLACES |= {"settings.against_model", "against_model.name", "against_model.path"}
PLACES |= {"shown"}  # how results are shown, which changes none of them


def write(path: Path, text: str) -> None:
    """Writes a file so that after a crash it is the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON; NaN is refused, since no other reader takes it."""
    write(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        FormatError: There is none.
    """
    from .._load import compiled

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise compiled().FormatError(f"{path}: {error}.") from None


def size(path: Path) -> int:
    """Bytes of a file, or of the files below a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def task_data(grid: KickGrid) -> dict[str, Path]:
    """Task text -> the file or folder that it reads, as evaluate() finds it."""
    import cupel

    found = {}
    for text in grid.tasks:
        name, options = task_options(text)
        path = options.get("file") or (grid.text if name == "perplexity" else None)
        if not path and grid.data:
            below = "wikitext2/wiki.test.raw"
            if name != "perplexity":
                below = cupel.task_info(name).data
            path = os.path.join(grid.data, below) if below else None
        if path:
            found[str(text)] = Path(path)
    return found


def describe(
    grid: KickGrid,
    cells: list[KickCell],
    model: Path,
    fingerprint: str,
    length: int,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What kick.json holds.

    Args:
        length: Tokens a calibration window.
        more: Of another model beside the grid.
    """
    import platform

    import torch

    import cupel

    settings = grid.to_dict()
    settings.pop("tasks")
    data, shown = settings.pop("data"), shown_entry(grid.tasks)
    calibration = None
    if grid.calibration is not None:
        calibration = {
            "file": grid.calibration,
            "sha256": cupel.data_sha256(grid.calibration),
            "samples": grid.samples if len(grid.samples) > 1 else grid.samples[0],
            "length": length,
        }
    for key in ("samples", "length"):
        del settings[key]
    settings["calibration"] = calibration
    settings["data_sha256"] = {
        text: cupel.data_sha256(path) for text, path in task_data(grid).items() if path.exists()
    }
    return {
        "cupel_kick": 1,
        "cupel": cupel.__version__,
        "model": {
            "name": model.resolve().name,
            "path": str(model.resolve()),
            "fingerprint": fingerprint,
        },
        **more,
        "data": data or "",
        "tasks": [str(text) for text in grid.tasks],
        **({"shown": shown} if shown else {}),
        "settings": settings,
        "cells": [dataclasses.asdict(cell) for cell in cells],
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "working_directory": os.getcwd(),  # what relative paths are relative to
        },
    }


def difference(there: Any, here: Any, name: str = "") -> str:
    """The first value in which two kick.json differ, with both; "" if they agree."""
    if name in PLACES:
        return ""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*there, *(key for key in here if key not in there)]:
            found = difference(there.get(key), here.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return ""
    return "" if there == here else f"{name} is {there} there and {here} here"


def check_out(out: Path, resume: bool) -> bool:
    """Whether `out` holds a grid to go on with.

    Raises:
        ValueError: It holds a grid and `resume` is False, or something else.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"[kick] out must be a folder. Got the file {out}.")
    if (out / KICK).is_file():
        if not resume:
            raise ValueError(
                f"[kick] {out} holds a grid: go on with it (resume=True, --resume), or choose "
                "another folder (--out)."
            )
        return True
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and held != [f".{KICK}.part"]:
        raise ValueError(
            f"[kick] out must be new, empty, or the folder of this grid. Got {out}, which holds "
            f"{held[0]} and no {KICK}."
        )
    return False


def check_same(out: Path, plan: Mapping[str, Any]) -> None:
    """Refuses to go on in the folder of another grid, naming the first difference."""
    there = read_json(out / KICK)
    if not isinstance(there, dict) or there.get("cupel_kick") != 1:
        raise ValueError(f"[kick] {out / KICK} is not of this kind of grid.")
    here = json.loads(json.dumps(plan))
    found = difference(there, here)
    if found:
        raise ValueError(
            f"[kick] {out} holds another grid: {found}. Choose another folder, or run what it holds."
        )


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps other processes out of the folder; a process that dies lets go."""
    with (out / KICK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"[kick] another process is running the grid in {out}.") from None
        yield


def keep_shown(out: Path, plan: Mapping[str, Any]) -> bool:
    """Writes the labels and values of `plan` into kick.json; whether others were there."""
    there = read_json(out / KICK)
    shown = plan.get("shown", {})
    if there.get("shown", {}) == shown:
        return False
    there["shown"] = shown
    write_json(out / KICK, there)
    return True


@dataclasses.dataclass(frozen=True)
class Disk:
    """Bytes that a grid is going to write, and those that are free."""

    records: int  # estimated; at most about
    models: int
    free: int

    def check(self, out: Path) -> None:
        """Refuses what does not fit.

        Raises:
            ValueError: With the sizes.
        """
        if self.records + self.models > self.free:
            kept = f"{self.models:,} bytes of models (keep_models) and " if self.models else ""
            raise ValueError(
                f"[kick] {out} must have room for {kept}about {self.records:,} bytes of records. "
                f"Got {self.free:,} bytes free."
            )


def disk(out: Path, grid: KickGrid, model: Path, left: int, kept: int, factor: float) -> Disk:
    """The disk that a grid takes.

    Records are taken to be about as large as the data, at least 4 kB a task; once the dense model is
    scored their size is known, and checked again.

    Args:
        left: Models to score.
        kept: Models to keep, if any are kept.
        factor: Bytes of a weight as loaded over those as stored.
    """
    import cupel

    data = task_data(grid)
    each = sum(max(4096, size(data[text]) if text in data else 0) for text in grid.tasks)
    models = int(kept * cupel.weight_bytes_on_disk(model) * factor) if grid.keep_models else 0
    return Disk(each * left, models, free_bytes(out))


def free_bytes(out: Path) -> int:
    """Bytes that are free where `out` is or is going to be."""
    place = out.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
