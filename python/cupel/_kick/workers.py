"""Cells of a grid in several processes. This one hands them out, and alone reports and decides.

A worker is `python -m cupel._kick.workers`: it reads the plan and then ids of cells from stdin, and
writes a line of JSON for each step to stdout. When its stdin ends, with this process, it ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .result import CellResult
    from .runner import KickStatus, Plan

EVERY = 0.2  # seconds between a worker's reports of one stage


def run_cells(
    plan: Plan,
    cells: list[CellResult],
    begin: Callable[[CellResult], None],
    tell: Callable[..., object],
) -> None:
    """Runs cells side by side.

    Args:
        cells: Those that are left, in order.
        begin: Called with each as it begins.
        tell: Called with a cell, a stage and a Progress or nothing; False as an answer ends the run.

    Raises:
        OSError: The disk, or a worker that ended.
        KeyboardInterrupt: A progress function said so.
    """
    waiting, at_work = list(cells), {}
    said: queue.Queue[tuple[Any, dict[str, Any] | None]] = queue.Queue()
    workers = [start(plan, said) for _ in range(min(plan.workers, len(cells)))]
    try:
        for worker in workers:
            hand_out(worker, waiting, at_work, begin)
        while at_work:
            worker, line = said.get()
            if worker not in at_work:
                continue
            one = at_work[worker]
            if line is None:
                raise OSError(f"[kick] the process that ran {one.id} ended with {worker.wait()}.")
            if "error" in line:
                raise OSError(line["error"])
            if line["stage"] != "end":
                if tell(one, line["stage"], step_of(line)) is False:
                    raise KeyboardInterrupt("[kick] cancelled by the progress function.")
                continue
            one.read()
            del at_work[worker]
            tell(one, "end")
            if waiting:
                hand_out(worker, waiting, at_work, begin)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
            with contextlib.suppress(OSError):  # a pipe that broke
                worker.stdin.close()


def start(plan: Plan, said: queue.Queue[tuple[Any, dict[str, Any] | None]]) -> Any:
    """A worker that has the plan; what it says goes to `said`."""
    import torch

    threads = str(max(1, torch.get_num_threads() // plan.workers))
    # This very package first, whatever else of that name sys.path leads to by now.
    paths = [str(Path(__file__).parents[2]), *(path or os.getcwd() for path in sys.path)]
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "cupel._kick.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is this process's to handle
    )
    pickle.dump(plan, worker.stdin)
    worker.stdin.flush()

    def listen() -> None:
        for line in worker.stdout:
            said.put((worker, json.loads(line)))
        said.put((worker, None))

    threading.Thread(target=listen, daemon=True).start()
    return worker


def hand_out(
    worker: Any,
    waiting: list[CellResult],
    at_work: dict[Any, CellResult],
    begin: Callable[[CellResult], None],
) -> None:
    """Gives a worker the next cell."""
    one = at_work[worker] = waiting.pop(0)
    begin(one)
    with contextlib.suppress(BrokenPipeError):  # that it ended is told by its stdout
        worker.stdin.write(f"{one.id}\n".encode())
        worker.stdin.flush()


def step_of(line: dict[str, Any]) -> Any:
    """A Progress from a worker's line."""
    from types import SimpleNamespace

    step = {"loss": float("nan"), "layer_done": False, "seconds": 0.0} | line["step"]
    return SimpleNamespace(**step)


def work(source: IO[bytes], out: IO[str]) -> None:
    """What a worker does."""
    from .runner import Runner

    def write(**line: Any) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    last = 0.0

    def tell(status: KickStatus) -> None:
        nonlocal last
        step = status.step
        if step is None or time.monotonic() - last < EVERY:
            return
        last = time.monotonic()
        told = {"stage": step.stage, "name": step.name, "done": step.done, "total": step.total}
        write(stage=status.stage, step=told)

    plan: Plan = pickle.load(source)
    ids: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in source:
            ids.put(line.decode().strip())
        os._exit(0)  # the grid's process is gone

    threading.Thread(target=listen, daemon=True).start()
    runner = Runner(plan, tell, None)
    while True:
        one = runner.result[ids.get()]
        try:
            runner.run_cell(one)
        except OSError as error:
            write(error=f"{error}")
            return
        write(stage="end")


if __name__ == "__main__":
    # What else is printed must not reach the grid's process as a line of ours.
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    work(sys.stdin.buffer, reports)
