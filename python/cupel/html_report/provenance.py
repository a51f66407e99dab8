"""Where the numbers come from: settings, data, weights, versions, machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .analysis import Analysis
from .table import Entry, Table
from .text import NONE, listed, visible

LONG = 300  # characters of a setting that are shown


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as names with dots."""
    if isinstance(value, dict) and value:
        return [pair for key, one in value.items() for pair in flat(one, f"{prefix}{key}.")]
    if isinstance(value, list):
        shown = ", ".join(str(one) for one in value)
    else:
        shown = NONE if value in (None, "", {}) else str(value)
    return [(prefix.rstrip("."), visible(shown, LONG))]


def settings_table(made: Analysis) -> Table:
    """kick.json, its cells left out: they have tables of their own."""
    table = Table(["setting", "value"], wrapped=True)
    for name, value in made.grid.kick.items():
        if name not in ("cells", "cupel_kick"):
            for key, text in flat(value, f"{name}."):
                table.add(key, text)
    return table


def task_table(made: Analysis) -> Table:
    """Each task's manifest."""
    table = Table(["task", "field", "value"], wrapped=True)
    scores = made.dense
    if scores is None:
        return table
    for task, manifest in scores.manifests.items():
        fields = json.loads(manifest.to_json())
        fields.pop("task")
        for key, text in flat(fields):
            table.add(visible(made.label(task), 80), key, text)
    return table


def model_table(made: Analysis) -> Table:
    """Fingerprints of weights."""
    table = Table(["model", "fingerprint of the weights", "method as recorded", "calibration"])
    for cell in [*([made.grid.dense] if made.grid.dense else []), *made.grid.cells]:
        compression = cell.compression
        calibration = compression.get("calibration") or {}
        text = NONE
        if calibration.get("hash"):
            text = f"{calibration['hash'][:16]}…, {calibration.get('tokens', 0):,} tokens"
        table.add(
            cell.name,
            Entry(made.fingerprints.get(cell.id) or NONE, None, "code"),
            str(compression.get("method") or NONE),
            text,
        )
    return table


def environment_table(made: Analysis) -> Table:
    """The first line of each record says where it ran."""
    table = Table(["records", "environment"], wrapped=True)
    found: dict[str, list[str]] = {}
    for cell in [*([made.grid.dense] if made.grid.dense else []), *made.grid.cells]:
        for path in sorted((cell.folder / "records").glob("*.jsonl")):
            text = environment(path)
            names = found.setdefault(text, [])
            if cell.name not in names:
                names.append(cell.name)
    for text, names in found.items():
        table.add(visible(listed(names), LONG), text)
    return table


def environment(path: Path) -> str:
    """What a record's head says of the machine, but for the time."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = json.loads(file.readline(1 << 20))
        fields = {k: v for k, v in head["environment"].items() if k != "time"}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return "not readable"
    return ", ".join(f"{key} {text}" for key, text in flat(fields))
