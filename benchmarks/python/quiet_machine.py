"""What every benchmark here shares: a quiet machine, its name, and the rate of its matrix products."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BUSY = 0.05  # of all cores, spent by others


def ticks() -> tuple[int, int]:
    """(busy, all) ticks of all cores since the machine started."""
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(fields[:8]) - fields[3] - fields[4], sum(fields[:8])


def load_of_others(seconds: float = 1.0) -> float:
    """The share of the machine that is busy while this process sleeps."""
    busy, total = ticks()
    time.sleep(seconds)
    busy_then, total_then = ticks()
    return (busy_then - busy) / max(1, total_then - total)


def insist_on_quiet(anyway: bool) -> float:
    """Exits where others keep the machine busy, unless told not to; returns their share."""
    load = load_of_others()
    if load > BUSY and not anyway:
        sys.exit(
            f"The machine is busy: others use {load:.0%} of it. Times would mean nothing; wait, or "
            "say --anyway and have the load in the results."
        )
    return load


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit."""
    name = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    told = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": name,
        "cores": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": told.stdout.strip() or "unknown",
    }


def gemm_rate(clock: Callable[[], float], size: int = 1024, repeats: int = 4) -> float:
    """FLOP/s of float32 products [size, size] x [size, size]."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = a @ b
    start = clock()
    for _ in range(repeats):
        torch.mm(a, b, out=out)
    return repeats * 2 * size**3 / (clock() - start)


def solve_flops(rows: int, columns: int) -> float:
    """What no solve of a layer avoids: one Cholesky factor and the updates of its rows."""
    return columns**3 / 3 + rows * columns**2


def summary(times: list[float]) -> dict[str, float]:
    """Median, quickest and slowest."""
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}
