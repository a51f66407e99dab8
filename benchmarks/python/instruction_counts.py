"""Instructions that one run of a kernel takes, counted by callgrind: a guard that noise cannot fake.

    python benchmarks/python/instruction_counts.py build/release/benchmarks/kernel_speed
        [--size 512] [--json FILE] [--against FILE]

The count of a step is that of a run with it less that of a run without any step. --against compares
with an earlier --json and exits with 1 where a step takes 5 % more. Counts hold for one build of
cupel and LibTorch on one instruction set; callgrind knows none beyond AVX2.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = [
    "factor",
    "factor tile",
    "sweep 2:4",
    "sweep 4 bit",
    "block 4 bit avx2",
    "block 2:4 avx2",
    "statistics",
    "prune rows",
    "select in the matrix",
    "select 2:4",
]
WORSE = 1.05


def instructions(program: Path, step: str, size: int) -> int:
    """All instructions of `program` with one run of `step`, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        told = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out",
                str(program),
                "--size",
                str(size),
                "--repeats",
                "1",
                "--only",
                step,
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", told.stderr)
    if told.returncode or not found:
        sys.exit(f"callgrind failed on '{step}' (exit {told.returncode}):\n{told.stderr[-2000:]}")
    if step != "none" and step not in told.stdout:
        sys.exit(f"{program} knows no step '{step}'.")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", nargs="+", default=STEPS)
    parser.add_argument("--json", type=Path, help="write the counts there")
    parser.add_argument("--against", type=Path, help="counts to compare with")
    options = parser.parse_args()
    before = json.loads(options.against.read_text()) if options.against else {}
    idle = instructions(options.program, "none", options.size)
    counts, worse = {}, []
    for step in options.steps:
        counts[step] = instructions(options.program, step, options.size) - idle
        line = f"{step:24} {counts[step]:>15,}"
        if step in before:
            line += f"  {counts[step] / before[step]:.3f} of before"
            if counts[step] > WORSE * before[step]:
                worse.append(step)
        print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    if worse:
        sys.exit(f"More instructions than before: {', '.join(worse)}.")


if __name__ == "__main__":
    main()
