"""Progress on stderr, tables on stdout."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cupel


class ProgressDisplay:
    """A progress function for the library's long calls, and a context manager around them.

    On a terminal a line that changes: what is done, the layer, its loss, time passed and time left.
    Elsewhere one plain line per finished layer and nothing else.
    """

    def __init__(self, title: str):
        self._title = title
        self._bar: Any = None
        self._layer = ""

    def __enter__(self) -> ProgressDisplay:
        if sys.stderr.isatty():
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, progress: cupel.Progress) -> None:
        loss = "" if math.isnan(progress.loss) else f"loss {progress.loss:.4g}"
        if self._bar:
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
