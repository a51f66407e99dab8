"""Progress on stderr, tables on stdout."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cupel


class ProgressDisplay:
    """A progress function for the library's long calls, and a context manager around them.

    On a terminal a line that changes: what is done, the layer or task, its loss, time passed and time
    left. Elsewhere one plain line per finished layer, and for an evaluation one every 10 seconds.
    """

    def __init__(self, title: str):
        self._title = title
        self._bar: Any = None
        self._layer = ""
        self._pace = Pace()

    def __enter__(self) -> ProgressDisplay:
        if sys.stderr.isatty():
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, progress: cupel.Progress) -> None:
        loss = "" if math.isnan(progress.loss) else f"loss {progress.loss:.4g}"
        new = self._pace.add(progress.name, progress.done)
        if self._bar:
            if new and progress.stage == "score":
                self._bar.reset(self._task)  # the time left is that of the task at hand
            if loss:
                self._layer = loss  # stays until the next layer has one
            self._bar.update(
                self._task,
                completed=progress.done,
                total=progress.total,
                layer=f"{progress.name} {self._layer}",
            )
        elif progress.layer_done:
            width = len(str(progress.total))
            line = f"[{progress.done:{width}}/{progress.total}] {progress.name}  {loss or 'loss -'}"
            print(f"{line}  {progress.seconds:.1f} s", file=sys.stderr, flush=True)
        elif progress.stage == "score" and progress.total and self._pace.due():
            line = f"{self._title}: {progress.name} {progress.done} of {progress.total}"
            left = self._pace.left(progress.total)
            print(f"{line}{left and f', about {left} left'}", file=sys.stderr, flush=True)

    def _start(self) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn(escape(self._title)),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[layer]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=None, layer="")
        self._bar.start()


class Pace:
    """How fast a task goes, from what this process did: recorded items take no time."""

    def __init__(self, every: float = 10.0, clock: Any = time.monotonic):
        self._every = every
        self._clock = clock
        self._name: str | None = None
        self._last = clock()  # when a line was printed
        self._start = (clock(), 0)

    def add(self, name: str, done: int) -> bool:
        """Takes note of a report; whether it is the first one of a task."""
        now = self._clock()
        new, self._name = name != self._name, name
        if new or (done > self._done and now - self._start[0] < 0.5):  # read from a record
            self._start = (now, done)
        self._done = done
        return new

    def due(self) -> bool:
        """Whether it is time for a line; once for each."""
        if self._clock() - self._last < self._every:
            return False
        self._last = self._clock()
        return True

    def left(self, total: int) -> str:
        """Time left for the task, or "" before it is known."""
        done, passed = self._done - self._start[1], self._clock() - self._start[0]
        if done <= 0:
            return ""
        seconds = round(passed / done * (total - self._done))
        return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text: the first column to the left, the others to the right.

    The same on a terminal and in a file, so that it can be copied and compared.
    """
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values below each other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def bytes_text(count: int) -> str:
    """12,345 bytes (12.3 kB): exact, and readable."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count:,} bytes ({count / 1000**power:.3g} {('', 'k', 'M', 'G', 'T')[power]}B)"
