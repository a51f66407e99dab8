"""A grid at work: a live table on a terminal, elsewhere a line for each finished cell."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from .errors import one_line

if TYPE_CHECKING:
    from .._kick.result import KickResult
    from .._kick.runner import KickStatus

STYLES = {"done": "green", "failed": "bold red", "running": "yellow", "waiting": "dim"}


class GridDisplay:
    """A progress function for cupel.kick(), and a context manager around it.

    Args:
        left: Models that are going to run.
    """

    def __init__(self, left: int, clock: Any = time.monotonic, file: Any = None):
        self._left = left
        self._total = left
        self._clock = clock
        self._file = sys.stderr if file is None else file
        self._live: Any = None
        self._status: KickStatus | None = None
        self._table: tuple[list[str], list[list[str]]] = ([], [])
        self._began = clock()
        self._started: dict[str, float] = {}  # cells at work

    def __enter__(self) -> GridDisplay:
        if self._file.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self.render,
                console=Console(file=self._file),
                transient=True,
                refresh_per_second=4,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, status: KickStatus) -> None:
        if status.stage == "start":
            self._started[status.cell.id] = self._clock()
        if status.stage == "end":
            self._left -= 1
        if status.stage in ("start", "end"):
            self._table = status.result.table()
        self._status = status
        if status.stage == "end" and not self._live:
            print(self.line(status), file=self._file, flush=True)

    def line(self, status: KickStatus) -> str:
        """A finished cell in one line."""
        one = status.cell
        width = len(str(self._total))
        start = f"[{self._total - self._left:{width}}/{self._total}] {name_of(one)}"
        took = f"{self._clock() - self._started.pop(one.id, self._began):.1f} s"
        if one.status == "failed":
            return f"{start}  failed after {took}: {one_line(one.error)}"
        values = ", ".join(f"{key} {value}" for key, value in values_of(status.result, one))
        left = self.time_left()
        return f"{start}  {values}  {took}{left and f', about {left} left'}"

    def time_left(self) -> str:
        """From the mean of the models that this process ran; "" before the first and after the last."""
        ran = self._total - self._left
        if ran == 0 or self._left == 0:
            return ""
        return span((self._clock() - self._began) / ran * self._left)

    def render(self) -> Any:
        """The table as it is now, as much as fits."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        columns, rows = self._table
        made = Table(box=None, pad_edge=False)
        for i, column in enumerate(columns):
            made.add_column(Text(column), justify="left" if i == 0 else "right", no_wrap=True)
        room = max(5, self._live.console.height - 5) if self._live else len(rows)
        for row in window(rows, room):
            *cells, status = row
            made.add_row(*map(Text, cells), Text(status, style=STYLES.get(status, "")))
        return Group(made, Text(self.now(), style="bold"))

    def now(self) -> str:
        """What is being done."""
        status = self._status
        if status is None:
            return "loading"
        parts = [name_of(status.cell)]
        if status.step is not None and status.stage in ("compress", "score"):
            step = status.step
            name = status.result.shown.label(step.name) if status.stage == "score" else step.name
            parts.append(f"{status.stage} {name} {step.done} of {step.total}")
        parts.append(f"{self._left} of {self._total} models to run")
        parts.append(f"{span(self._clock() - self._began)} passed")
        left = self.time_left()
        return ", ".join([*parts, f"about {left} left"] if left else parts)


def window(rows: list[list[str]], room: int) -> list[list[str]]:
    """The dense row and those around the one at work, at most `room`."""
    if len(rows) <= room:
        return rows
    at = next((i for i, row in enumerate(rows) if row[-1] == "running"), len(rows) - 1)
    begin = min(max(1, at - (room - 1) * 2 // 3), len(rows) - (room - 1))
    return [rows[0], *rows[begin : begin + room - 1]]


def name_of(one: Any) -> str:
    """A cell in words."""
    return f"{one.label} seed {one.cell.seed}" if one.cell and one.cell.seeded else one.label


def values_of(result: KickResult, one: Any) -> list[tuple[str, str]]:
    """Column and text of each value of a cell."""
    from .._kick.result import headline

    shown = headline(result.dense.metrics, result.shown)
    return list(zip(shown, result.row(one, shown)[4:-1], strict=True))


def span(seconds: float) -> str:
    """A time in words."""
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
