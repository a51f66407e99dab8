"""Runs of cupel and of a peer in turns, each in a process of its own; a table and a file of results.

A peer lives in a virtual environment of its own below build/peers. Each run is a new process of one
side: it compresses a tiny model first, which loads whatever is loaded on first use, then the model,
and writes down the seconds of that call alone, the largest memory during it, and versions. Imports,
loading and saving are apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from peer_models import TINY, Judge, Shape, Weights, make_model
from quiet_machine import gemm_rate, insist_on_quiet, machine, summary, ticks

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"  # of every side; pip must not choose one by itself
TOLERANCE = 0.02  # by which cupel's mean error may be above the peer's before a row says so


@dataclasses.dataclass(frozen=True)
class Work:
    """One method with its options, on both sides."""

    title: str
    theirs: dict[str, Any]
    ours: Callable[[Any], Any]  # the module cupel -> its compressor
    keep: tuple[int, int] | None = None  # n:m that must come out
    group: int = 0  # columns that share a grid
    bits: int = 0


class Watch:
    """Times what runs inside, with the memory before it and the largest during it, in bytes."""

    def __enter__(self) -> Watch:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of loading
        self.loaded = self._memory("VmRSS")
        self.start, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        self.cpu_seconds = time.process_time() - self.cpu
        self.peak = self._memory("VmHWM")

    @staticmethod
    def _memory(field: str) -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split(field + ":")[1].split()[0])


# The peer's side: (model folder, tokens, options, batch size) -> the clock and dense weights.
Compress = Callable[[Path, torch.Tensor, dict[str, Any], int], tuple[Watch, Weights]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A toolkit to compare with."""

    name: str
    folder: str  # of its environment, and the name of the results
    requirements: tuple[str, ...]
    versions: tuple[str, ...]  # distributions whose versions are told
    compress: Compress
    works: dict[str, Work]
    modes: tuple[str, ...]  # cupel's propagation, first the one that is like the peer's
    notes: str
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


def install(peer: Peer) -> Path:
    """The Python of the peer's environment, which is made where it is missing."""
    folder = ROOT / "build" / "peers" / peer.folder
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = " ".join([TORCH, *peer.requirements, platform.python_version()])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing {', '.join(peer.requirements)} into {folder}", file=sys.stderr)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    pip += ["--no-input", "--quiet", "install"]
    index = os.environ.get("TORCH_INDEX_URL")
    # torch first and alone, as in scripts/venv.sh.
    subprocess.run([*pip, TORCH, *(["--index-url", index] if index else [])], check=True)
    subprocess.run([*pip, TORCH, *peer.requirements], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def compress_with_cupel(
    folder: Path, tokens: torch.Tensor, work: Work, propagation: str
) -> tuple[Watch, Weights]:
    import cupel

    model = cupel.load_model(folder)
    compressor = work.ours(cupel)
    with Watch() as watch:
        cupel.compress(model, tokens, compressor, propagation=propagation, measure_loss=False)
    return watch, dict(model.state_dict())


def one_run(peer: Peer, job: dict[str, Any]) -> None:
    """What a process of its own does: one side, one work, once, after the tiny model."""
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(job["threads"])
    work = peer.works[job["work"]]
    for folder in map(Path, (job["tiny"], job["model"])):
        tokens = load_file(folder / "tokens.st")["calibration"]
        if job["side"] == peer.name:
            watch, weights = peer.compress(folder, tokens, work.theirs, job["batch"])
        else:
            watch, weights = compress_with_cupel(folder, tokens, work, job["side"])
    told = {name: metadata.version(name) for name in ("torch", "transformers", "numpy")}
    if job["side"] == peer.name:
        told |= {name: metadata.version(name) for name in peer.versions}
    out = Path(job["out"])
    if job["save"]:
        whole = {name: weight.detach().float().contiguous() for name, weight in weights.items()}
        save_file(whole, out / "weights.st")
    fields = {
        "seconds": watch.seconds,
        "cpu_seconds": watch.cpu_seconds,
        "loaded_bytes": watch.loaded,
        "peak_bytes": watch.peak,
        "threads": torch.get_num_threads(),
        "versions": told,
    }
    (out / "run.json").write_text(json.dumps(fields), encoding="utf-8")


class Turns:
    """Starts the processes, and keeps what they found."""

    def __init__(self, peer: Peer, script: str, folder: Path, options: argparse.Namespace) -> None:
        self.peer, self.script, self.folder, self.options = peer, script, folder, options
        self.python = install(peer)
        self.rates: list[float] = []

    def run(self, side: str, work: str, batch: int, save: bool = False) -> dict[str, Any]:
        """One process; its fields, and the share of the machine that others used meanwhile."""
        out = self.folder / f"{work}-{side}"
        out.mkdir(exist_ok=True)
        job = {"side": side, "work": work, "batch": batch, "save": save, "out": str(out)}
        job |= {"model": str(self.folder / "model"), "tiny": str(self.folder / "tiny")}
        job["threads"] = self.options.threads
        theirs = side == self.peer.name
        threads = str(self.options.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        if theirs:
            environment |= self.peer.environment
        python = str(self.python) if theirs else sys.executable
        self.rates.append(gemm_rate(time.perf_counter))
        busy, total, used = *ticks(), children()
        done = subprocess.run(
            [python, self.script, "--run", json.dumps(job)],
            cwd=out,
            env=environment,
            capture_output=True,
            text=True,
        )
        busy_then, total_then = ticks()
        if done.returncode:
            told = (done.stdout + done.stderr)[-6000:]
            sys.exit(f"{side} {work} failed (exit {done.returncode}):\n{told}")
        found = json.loads((out / "run.json").read_text(encoding="utf-8"))
        others = busy_then - busy - (children() - used) * os.sysconf("SC_CLK_TCK")
        found["load_of_others"] = max(0.0, others / max(1, total_then - total))
        print(
            f"{work} {side} batch {batch}: {found['seconds']:.2f} s, others "
            f"{found['load_of_others']:.0%}",
            file=sys.stderr,
        )
        return found

    def best_batch(self, work: str) -> int:
        """The batch size at which the peer is quickest."""
        sizes = self.options.batch_sizes
        if len(sizes) == 1:
            return sizes[0]
        seconds = {n: self.run(self.peer.name, work, n)["seconds"] for n in sizes}
        return min(seconds, key=seconds.__getitem__)


def children() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(turns: Turns, judge: Judge, shape: Shape) -> dict[str, Any]:
    """Rounds of all sides for each work; a row for each."""
    from safetensors.torch import load_file

    peer, results = turns.peer, {}
    for name, work in peer.works.items():
        sides, batch = (peer.name, *peer.modes), turns.best_batch(name)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for turn in range(turns.options.repeat):
            for side in sides:
                runs[side].append(turns.run(side, name, batch, save=turn == 0))
        rate = statistics.median(turns.rates)
        made = {side: load_file(turns.folder / f"{name}-{side}" / "weights.st") for side in sides}
        rows: dict[str, dict[str, Any]] = {}
        for side in sides:
            row = {"seconds": summary([run["seconds"] for run in runs[side]])}
            row["cpu_seconds"] = summary([run["cpu_seconds"] for run in runs[side]])
            row["peak_bytes"] = max(run["peak_bytes"] for run in runs[side])
            row["loaded_bytes"] = max(run["loaded_bytes"] for run in runs[side])
            row["versions"] = runs[side][0]["versions"]
            row["threads"] = runs[side][0]["threads"]
            row["load_of_others"] = [run["load_of_others"] for run in runs[side]]
            row["quality"] = judge.measure(made[side], work.keep, work.group)
            rows[side] = row
            if side != peer.name:
                flop = shape.limit_flop(side)
                row["limit_seconds"] = {part: value / rate for part, value in flop.items()}
                limit = sum(row["limit_seconds"].values())
                row["of_limit"] = limit / row["seconds"]["median"]
            row["ratio"] = rows[peer.name]["seconds"]["median"] / row["seconds"]["median"]
        theirs, ours = (rows[side]["quality"]["mean_error"] for side in (peer.name, peer.modes[0]))
        results[name] = {
            "title": work.title,
            "peer_options": work.theirs,
            "peer_batch_size": batch,
            "gemm_gflops": rate / 1e9,
            "sides": rows,
            "bits": work.bits,
            "error_ratio": ours / theirs,
            "weights_apart": judge.share_apart(made[peer.name], made[peer.modes[0]]),
            "worse": ours > theirs * (1 + TOLERANCE),
        }
    return results


def tell(peer: Peer, results: dict[str, Any], dense: float) -> None:
    """Prints the table, and what is to be seen in it."""
    print(f"\nPerplexity of the dense model: {dense:.4f}.\n")
    print(
        f"| work | side | seconds (least-most) | {peer.name} / this | of the limit | peak MB "
        "(loaded) | perplexity | mean layer error | zeros |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for work in results.values():
        for side, row in work["sides"].items():
            time_, made = row["seconds"], row["quality"]
            label = f"{side}, batch {work['peer_batch_size']}"
            limit = "-" if side == peer.name else f"{row['of_limit']:.0%}"
            print(
                f"| {work['title']} | {label if side == peer.name else 'cupel ' + side} | "
                f"{time_['median']:.2f} ({time_['least']:.2f}-{time_['most']:.2f}) | "
                f"{row['ratio']:.2f} | {limit} | {row['peak_bytes'] / 1e6:.0f} "
                f"({row['loaded_bytes'] / 1e6:.0f}) | {made['perplexity']:.4f} | "
                f"{made['mean_error']:.6f} | {made['sparsity']:.4f} |"
            )
    print()
    for work in results.values():
        word = " - WORSE" if work["worse"] else ""
        print(
            f"- {work['title']}: cupel's mean layer error ({peer.modes[0]}, which passes text on as "
            f"{peer.name} does) is {work['error_ratio']:.3f} of {peer.name}'s{word}; "
            f"{work['weights_apart']:.2%} of the weights differ."
        )
        for side, row in work["sides"].items():
            made = row["quality"]
            if made["groups_above_n"]:
                print(f"- {work['title']}, {side}: {made['groups_above_n']} groups break n:m.")
            if (made["distinct_values"] or 0) > 2 ** work["bits"]:
                print(f"- {work['title']}, {side}: a group holds {made['distinct_values']} values.")
            if made["changed_besides"]:
                print(f"- {work['title']}, {side} also changed {made['changed_besides']}.")
    print(f"- {peer.notes}")


def compare(peer: Peer, script: str, description: str) -> None:
    """The command: a run of its own with --run, else all of it."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model, one round: a trial")
    parser.add_argument("--repeat", type=int, help="rounds (default: 3; 1 with --quick)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        help="of the peer, which runs at the best of them (default: 1 8 32; 8 with --quick)",
    )
    parser.add_argument("--anyway", action="store_true", help="also where others use the machine")
    parser.add_argument("--json", type=Path, help="results (default: below build/benchmarks)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        one_run(peer, json.loads(options.run))
        return
    options.repeat = options.repeat or (1 if options.quick else 3)
    options.batch_sizes = options.batch_sizes or ([8] if options.quick else [1, 8, 32])
    load = insist_on_quiet(options.anyway)
    torch.set_num_threads(options.threads)
    shape = TINY if options.quick else Shape()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        turns = Turns(peer, script, folder, options)
        make_model(folder / "model", shape, options.seed)
        make_model(folder / "tiny", TINY, options.seed)
        judge = Judge(folder / "model")
        dense = judge.measure(judge.dense)["perplexity"]
        results = measure(turns, judge, shape)
    tell(peer, results, dense)
    out = options.json or ROOT / "build" / "benchmarks" / f"{peer.folder}.json"
    whole = {
        "machine": machine(),
        "load_of_others": load,
        "quick": options.quick,
        "threads": options.threads,
        "rounds": options.repeat,
        "requirements": [TORCH, *peer.requirements],
        "notes": peer.notes,
        "model": dataclasses.asdict(shape) | {"vocabulary": shape.vocabulary, "seed": options.seed},
        "dense_perplexity": dense,
        "works": results,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if any(work["worse"] for work in results.values()):
        sys.exit(f"cupel's layer errors are more than {TOLERANCE:.0%} above {peer.name}'s.")


__all__ = ["Peer", "Watch", "Weights", "Work", "compare"]
