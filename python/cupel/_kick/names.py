"""What the cells of a grid are called: in the folder, and in tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .options import PARITY


def percent(level: Any) -> str:
    """A fraction in percent, without the digits that it gets from base 2."""
    return f"{100 * level:.10g}" if isinstance(level, float) else ""


def model_name(folder: str) -> str:
    """What a model folder is called."""
    return Path(folder).expanduser().resolve().name


def cell_name(method: str, kind: str, level: Any, parity: float | None) -> tuple[str, str]:
    """The beginning of a cell's id, and what tables call it; number of windows and seed apart.

    Args:
        level: 0.5 or "parity", "2:4", 4; of the kind "model" "dense".
        parity: The sparsity that "parity" stands for, where it is known.
    """
    plain = re.sub("[^A-Za-z0-9_.]", "_", method)
    if kind == "model":
        return f"model-{plain}", f"{method} {level}"
    if kind == "bits":
        return f"{plain}-{level}bit", f"{method} {level} bit"
    if kind == "pattern":
        return f"{plain}-{level.replace(':', 'of')}", f"{method} {level}"
    if level == PARITY:
        known = "" if parity is None else f" ({100 * parity:.4g} %)"
        return f"{plain}-{PARITY}", f"{method} {PARITY}{known}"
    return f"{plain}-{percent(level)}", f"{method} {percent(level)} %"
