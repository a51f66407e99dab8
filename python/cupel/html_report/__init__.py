"""The report of a grid or an evaluation: what broke, from which level on, and how certain that is.

`write_html_report(DIR)` reads what `cupel kick` or `cupel evaluate --out` wrote and makes DIR/report:

    index.html    everything, in one file that needs no network and no JavaScript
    report.md     the same tables as Markdown
    report.tex    tables for a paper (booktabs)
    cells.csv     a row a model: sizes, times, perplexities
    verdicts.csv  a row a value of a task of a model: differences, intervals, tests, verdicts

Numbers come from cupel.compare(); the same folder gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .analysis import Analysis

__all__ = ["write_html_report"]


def write_html_report(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Writes the report of `folder`.

    Args:
        folder: DIR of `cupel kick`, or of `cupel evaluate --out`. A grid may be unfinished: cells that
            failed or have not run are named as such.
        out: Where to write; by default folder/report.
        progress: Called with the label of each cell before it is compared.

    Returns:
        File name -> path, in the order written.

    Raises:
        ValueError: `folder` holds no grid and no evaluation, or nothing in it is finished.
        FormatError: Its kick.json or its dense scores are damaged. Damage to a single cell is
            reported in the page instead.
    """
    from .analysis import analyse
    from .grid import read_grid

    made = analyse(read_grid(Path(folder)), progress)
    return write_pages(made, Path(out) if out is not None else Path(folder) / "report")


def write_pages(made: Analysis, target: Path) -> dict[str, Path]:
    """Writes what write_html_report() writes, from an analysis that was made before."""
    from .._load import build
    from .files import make_cells, make_latex, make_markdown, make_verdicts
    from .page import make_page

    texts = {
        "cells.csv": make_cells(made),
        "verdicts.csv": make_verdicts(made),
        "report.md": make_markdown(made),
        "report.tex": make_latex(made),
        "index.html": make_page(made, build().VERSION),
    }
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        unfinished = target / f".{name}.{os.getpid()}"  # a page is whole or not there
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        os.replace(unfinished, target / name)
    return {name: target / name for name in texts}
