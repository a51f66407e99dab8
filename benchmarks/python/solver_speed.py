"""Solvers, statistics and selection against plain PyTorch and against the limit of the machine.

    python benchmarks/python/solver_speed.py [--sizes 1024 2048 4096] [--json FILE] [--anyway]

The rival is tests/python/textbook.py: each method as its paper computes it, over all rows in one go.
Runs of both and of the matrix product that sets the limit alternate, and so does which side comes
first. The limit counts the arithmetic that nobody avoids: c^3/3 for one Cholesky factor and r c^2 for
the updates, n c^2 for the symmetric half of X^T X, at the rate of the product in the same run.
Relative errors are printed beside the times. --cpu-time takes the time that this process had the
processor, on one thread: rough, but of some use where others run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupel
import torch
from quiet_machine import gemm_rate, insist_on_quiet, machine, solve_flops, summary

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import textbook  # noqa: E402

GRID = cupel.Grid(bits=4, group=128)


def layer(size: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [size, size] and inputs [tokens, size] that hang together."""
    torch.manual_seed(size)
    mix = torch.eye(size) + torch.randn(size, size) * (0.3 / size**0.5)
    return torch.randn(size, size) * size**-0.5, torch.randn(tokens, size) @ mix


Call = Callable[[], Any]


def cases(size: int, tokens: int) -> dict[str, tuple[Call, Call, float | None]]:
    """Name -> (ours, plain PyTorch, arithmetic in FLOP or None)."""
    weight, x = layer(size, tokens)
    stats = cupel.InputStats(columns=size)
    stats.add(x)
    hessian, sq_norm = stats.hessian(), stats.sq_norm()
    solve = solve_flops(size, size)

    def solved(method: cupel.Compressor) -> Call:
        return lambda: method.compress(weight, stats, measure_loss=False)

    def collected() -> Any:
        made = cupel.InputStats(columns=size)
        made.add(x)
        return made

    def wanda() -> torch.Tensor:
        return weight * textbook.wanda_mask(weight, sq_norm, 0.5, rules="exact")

    half, two_of_four = cupel.unstructured(0.5), cupel.n_of_m(2, 4)
    exact: dict[str, Any] = {"rules": "exact"}
    return {
        "gptq 4 bit group 128": (
            solved(cupel.Gptq(GRID)),
            lambda: textbook.gptq(weight, hessian, 4, group=128, **exact),
            solve,
        ),
        "sparsegpt 50 %": (
            solved(cupel.SparseGpt(half)),
            lambda: textbook.sparsegpt(weight, hessian, 0.5, **exact),
            solve,
        ),
        "sparsegpt 2:4": (
            solved(cupel.SparseGpt(two_of_four)),
            lambda: textbook.sparsegpt(weight, hessian, prune_n=2, prune_m=4, **exact),
            solve,
        ),
        "statistics": (collected, lambda: textbook.hessian([x]), tokens * size**2),
        "wanda 50 %": (solved(cupel.Prune("wanda", half)), wanda, None),
    }


def error(made: Any, size: int, tokens: int) -> float | None:
    """||X dW^T||^2 / ||X W^T||^2 of what a solver returned."""
    weight, x = layer(size, tokens)
    result = getattr(made, "weight", made)
    if not isinstance(result, torch.Tensor) or result.shape != weight.shape:
        return None
    return textbook.relative_error(weight, result, x[:1024])


def measure(size: int, tokens: int, repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    rows = {}
    for name, (ours, plain, work) in cases(size, tokens).items():
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        errors, rates = {}, []
        for turn in range(repeats + 1):  # the first is not counted
            rates.append(gemm_rate(clock))
            sides = [("ours", ours), ("plain", plain)]
            for who, call in sides if turn % 2 else sides[::-1]:
                start = clock()
                made = call()
                if turn:
                    times[who].append(clock() - start)
                elif name != "statistics":
                    errors[who] = error(made, size, tokens)
                del made
        mine, theirs = summary(times["ours"]), summary(times["plain"])
        rate = sorted(rates)[len(rates) // 2]
        rows[name] = {
            "ours": mine,
            "plain": theirs,
            "ratio": theirs["median"] / mine["median"],
            "gemm_gflops": rate / 1e9,
            "limit_seconds": work / rate if work else None,
            "of_limit": work / rate / mine["median"] if work else None,
            "relative_error": errors,
        }
        limit = f"{rows[name]['of_limit']:6.0%}" if work else "     -"
        told = ", ".join(f"{who} {e:.5f}" for who, e in errors.items() if e is not None)
        print(
            f"| {size} | {name} | {mine['median']:.4f} ({mine['least']:.4f}-{mine['most']:.4f}) | "
            f"{theirs['median']:.4f} | {rows[name]['ratio']:.1f}x | {limit} | {told} |",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="one thread, time on the processor")
    parser.add_argument("--anyway", action="store_true", help="also where others use the machine")
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    load = insist_on_quiet(options.anyway)
    if options.cpu_time:
        torch.set_num_threads(1)
    clock = time.process_time if options.cpu_time else time.perf_counter
    print("| columns | work | seconds (least-most) | plain PyTorch | ratio | limit | error |")
    print("|---|---|---|---|---|---|---|")
    results = {
        "machine": machine(),
        "load_of_others": load,
        "clock": clock.__name__,
        "tokens": options.tokens,
        "sizes": {
            size: measure(size, options.tokens, options.repeats, clock) for size in options.sizes
        },
    }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
