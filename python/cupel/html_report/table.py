"""A table: made once, written as HTML, Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .parts import Key
from .text import known

if TYPE_CHECKING:
    from .analysis import Analysis

VERDICTS = {"matching": ("✓", "yes"), "not matching": ("✕", "no"), "undecided": ("?", "open")}


@dataclass
class Entry:
    """One cell of a table."""

    text: str
    value: float | str | None = (
        None  # exact: for sorting, and for whoever reads the page by machine
    )
    css: str = ""


@dataclass
class Table:
    """Columns and rows; the first column names the row."""

    columns: list[str]
    rows: list[list[Entry]] = field(default_factory=list)
    name: str = ""
    wrapped: bool = False  # whether cells hold prose that may break lines

    def add(self, *entries: Entry | str) -> None:
        """A row; texts are entries."""
        self.rows.append([Entry(one) if isinstance(one, str) else one for one in entries])


def value(number_: float | None, text: str, css: str = "") -> Entry:
    """A number with its exact value."""
    return Entry(text, number_ if known(number_) else None, css)


def task_name(made: Analysis, key: Key) -> str:
    """The task, and its protocol where it has several."""
    task, protocol = key
    several = sum(other[0] == task for other in made.headlines) > 1
    name = made.label(task)
    return f"{name} ({protocol})" if several or protocol != "strict" else name
