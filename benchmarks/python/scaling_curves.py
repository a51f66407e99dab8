"""How solvers, statistics and selection grow with rows, columns, tokens and threads.

    python benchmarks/python/scaling_curves.py [--json FILE] [--repeats 3] [--anyway]

One quantity changes at a time, from a layer of 2048 x 2048 and 4,096 tokens on all cores. Beside each time
stands the share of the limit: c^3/3 for the factor, r c^2 for the updates, n c^2 for the symmetric half of
X^T X, at the rate of a matrix product on as many threads in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupel
import torch
from quiet_machine import gemm_rate, insist_on_quiet, machine, solve_flops, summary

BASE = {"rows": 2048, "columns": 2048, "tokens": 4096}
CURVES = {
    "rows": (256, 512, 1024, 2048, 4096, 8192),
    "columns": (256, 512, 1024, 2048, 4096),
    "tokens": (256, 1024, 4096, 16384),
}

Step = tuple[Callable[[], Any], float | None]  # and its arithmetic in FLOP


def steps_of(rows: int, columns: int, tokens: int) -> dict[str, Step]:
    """What is measured on a layer [rows, columns] with inputs [tokens, columns]."""
    torch.manual_seed(columns)
    weight, x = torch.randn(rows, columns) * columns**-0.5, torch.randn(tokens, columns)
    stats = cupel.InputStats(columns=columns)
    stats.add(x)
    half, two_of_four = cupel.unstructured(0.5), cupel.n_of_m(2, 4)
    methods = {
        "gptq": cupel.Gptq(cupel.Grid(bits=4, group=128)),
        "sparsegpt 50 %": cupel.SparseGpt(half),
        "sparsegpt 2:4": cupel.SparseGpt(two_of_four),
        "wanda 50 %": cupel.Prune("wanda", half),
    }
    solve = solve_flops(rows, columns)
    found: dict[str, Step] = {
        name: (
            lambda method=method: method.compress(weight, stats, measure_loss=False),
            None if name.startswith("wanda") else solve,
        )
        for name, method in methods.items()
    }
    found["statistics"] = (lambda: cupel.InputStats(columns=columns).add(x), tokens * columns**2)
    return found


def measure(step: Step, repeats: int) -> dict[str, Any]:
    """Seconds of a step and its share of the limit, runs alternating with the product's."""
    call, work = step
    call()
    times, rates = [], []
    for _ in range(repeats):
        rates.append(gemm_rate(time.perf_counter))
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    rate = sorted(rates)[len(rates) // 2]
    row = summary(times) | {"gemm_gflops": rate / 1e9}
    if work:
        row["of_limit"] = work / rate / row["median"]
    return row


def run(sizes: dict[str, int], repeats: int, only: str = "") -> dict[str, Any]:
    """Every step at one size; of a curve over tokens the statistics alone."""
    steps = steps_of(**sizes)
    return {name: measure(step, repeats) for name, step in steps.items() if only in ("", name)}


def print_rows(quantity: str, value: int, found: dict[str, Any]) -> None:
    for name, row in found.items():
        limit = f"{row['of_limit']:.0%}" if "of_limit" in row else "-"
        spread = f"{row['least']:.4f}-{row['most']:.4f}"
        print(
            f"| {quantity} | {value} | {name} | {row['median']:.4f} ({spread}) | {limit} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs that count")
    parser.add_argument("--anyway", action="store_true", help="also where others use the machine")
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    load = insist_on_quiet(options.anyway)
    cores = torch.get_num_threads()
    print("| quantity | value | work | seconds (least-most) | limit |")
    print("|---|---|---|---|---|")
    curves: dict[str, dict[int, Any]] = {}
    for quantity, values in CURVES.items():
        only = "statistics" if quantity == "tokens" else ""
        for value in values:
            found = run(BASE | {quantity: value}, options.repeats, only)
            curves.setdefault(quantity, {})[value] = found
            print_rows(quantity, value, found)
    threads = sorted({1, 2, cores // 2, cores} & set(range(1, cores + 1)))
    for count in threads:
        torch.set_num_threads(count)
        curves.setdefault("threads", {})[count] = found = run(BASE, options.repeats)
        print_rows("threads", count, found)
    if options.json:
        made = {"machine": machine(), "load_of_others": load, "base": BASE, "curves": curves}
        options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
