"""cupel against lm-eval on one random model: same scores, time, memory; as Markdown.

    python benchmarks/python/compare_lm_eval.py [--quick] [--repeat 3] [--threads 2]

Needs `pip install lm_eval accelerate transformers sentencepiece`. Three workloads are scored in
float32 with the same number of threads: 200 five-shot letter questions, 48 questions with full-text
choices, and the rolling perplexity of 51,200 tokens. Model and tokenizer are loaded before; each
side runs once unmeasured, then the sides take turns, and medians are given. lm-eval runs at the best
of its batch sizes 1, 8 and 32, found before on 64 letter questions, 16 full-text questions and the
whole rolling text.

"GEMM limit" is the share of a row's time that its forward pass would take at the rate of a large
matrix product of the same type, measured in the same run. lm-eval's forward pass is every distinct
request, with logits at every position; cupel's is every distinct token after its beginning, with
logits where they are scored.

Ends with an error when the sides disagree: a choice by more than 1e-4 nats or in which one is best,
the rolling log-likelihood by more than 1e-6 of its value.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import logging
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval_workloads import CONFIG, Work, Workload, make_folder, make_workloads

BATCH_SIZES = (1, 8, 32)
SEARCHED = {"letters": 64, "full-text": 16, "rolling": 0}  # questions
CHOICE_TOLERANCE, ROLLING_TOLERANCE = 1e-4, 1e-6
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


class LmEval:
    """lm-eval's HFLM on the transformers model."""

    name, dtype = "lm-eval", "float32"

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers
        from lm_eval.models.huggingface import HFLM

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self.tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.lm = HFLM(pretrained=model, tokenizer=self.tokenizer)

    def score(self, workload: Workload, batch_size: int) -> list[float]:
        from lm_eval.api.instance import Instance

        self.lm.batch_size_per_gpu = batch_size
        if workload.texts:
            kind, arguments = "loglikelihood_rolling", [(text,) for text in workload.texts]
            run = self.lm.loglikelihood_rolling
        else:
            kind, arguments = "loglikelihood", workload.pairs
            run = self.lm.loglikelihood
        instances = [Instance(kind, {}, tuple(each), i) for i, each in enumerate(arguments)]
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            found = run(instances, True)
        return found if workload.texts else [value for value, _ in found]


class Cupel:
    """cupel's ModelScorer in its mode that follows lm-eval; a new one each time, so nothing is kept."""

    name = "cupel"

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        import cupel

        self.dtype = dtype
        self.model = cupel.load_model(folder, dtype=dtype)
        self.tokenizer = cupel.load_tokenizer(folder)

    def score(self, workload: Workload, batch_size: int = 0) -> list[float]:
        import cupel

        scorer = cupel.ModelScorer(self.model, self.tokenizer, boundary="harness")
        if workload.texts:
            found = scorer.rolling_log_likelihood(workload.texts)
        else:
            found = scorer.log_likelihood(workload.pairs)
        return [each.value for each in found]


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = run()
    return time.perf_counter() - start, value


def gemm_rate(dtype: str) -> float:
    """The best of several rates of a matrix product, in operations a second."""
    import torch

    rows, inner, columns = 2048, CONFIG["hidden_size"], CONFIG["intermediate_size"]
    a = torch.randn(rows, inner).to(getattr(torch, dtype))
    b = torch.randn(inner, columns).to(a.dtype)
    best = min(timed(lambda: [torch.mm(a, b) for _ in range(4)])[0] for _ in range(12))
    return 4 * 2 * rows * inner * columns / best


def encode(tokenizer: Any, workload: Workload) -> list[tuple[list[int], int]]:
    """The tokens that the model reads of each pair, and how many of the positions are scored."""
    encoded = []
    for context, continuation in workload.pairs:
        whole = tokenizer.encode(context + continuation)
        encoded.append((whole[:-1], len(whole) - len(tokenizer.encode(context))))
    return encoded


def common(a: list[int], b: list[int]) -> int:
    """Length of the common beginning."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def forward_work(tokenizer: Any, workload: Workload) -> tuple[Work, Work]:
    """What lm-eval runs, and what has to be run when beginnings are shared."""
    all_of_it, shared = Work(), Work()
    previous: list[int] = []
    for tokens, scored in sorted(encode(tokenizer, workload)):
        begin = common(previous, tokens)
        if begin < len(tokens):
            all_of_it.add(0, len(tokens), len(tokens))
        shared.add(begin, len(tokens), min(scored, len(tokens) - begin))
        previous = tokens
    window = CONFIG["max_position_embeddings"]
    for text in workload.texts:
        left = len(tokenizer.encode(text))
        size = min(window, left)  # of every window; the last one is filled up with context
        while left > 0:
            all_of_it.add(0, size, size)
            shared.add(0, size, min(size, left))
            left -= size
    return all_of_it, shared


def best_batch_sizes(lm: LmEval, workloads: dict[str, Workload]) -> dict[str, int]:
    best = {}
    for name, workload in workloads.items():
        part = workload.head(SEARCHED[name])
        lm.score(part, BATCH_SIZES[0])
        seconds = {n: timed(lambda p=part, n=n: lm.score(p, n))[0] for n in BATCH_SIZES}
        best[name] = min(seconds, key=seconds.__getitem__)
        shown = ", ".join(f"{n}: {s:.1f} s" for n, s in seconds.items())
        print(f"lm-eval's batch sizes, {name}: {shown}", file=sys.stderr)
    return best


def disagreement(workload: Workload, ours: list[float], theirs: list[float]) -> tuple[str, bool]:
    """A sentence on how far two sides are apart, and whether that is too far."""
    if workload.texts:
        far = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
        return f"log-likelihood apart by {far:.1e} of its value", far > ROLLING_TOLERANCE
    far = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    others = sum(
        best_of(ours[i : i + workload.choices]) != best_of(theirs[i : i + workload.choices])
        for i in range(0, len(ours), workload.choices)
    )
    text = f"choices apart by at most {far:.1e} nats, {others} questions with another best one"
    return text, far > CHOICE_TOLERANCE or others > 0


def best_of(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def one_run(folder: Path, side: str, name: str, batch_size: int) -> None:
    """A process of its own: loads one side, scores once, prints its largest memory in bytes."""
    import resource

    workload = Workload(**json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
    loaded = LmEval(folder) if side == LmEval.name else Cupel(folder)
    loaded.score(workload, batch_size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, knows nothing of the memory of the process before exec
        peak = int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0])
    print(f"peak {peak * 1024}")


def in_process(
    folder: Path, side: str, name: str, batch_size: int, threads: int
) -> tuple[float, float]:
    """Seconds of a process from start to end, and GB of its largest memory."""
    options = {"folder": folder, "side": side, "workload": name}
    options |= {"batch-size": batch_size, "threads": threads}
    run = [sys.executable, __file__, *(f"--{key}={value}" for key, value in options.items())]
    seconds, done = timed(lambda: subprocess.run(run, capture_output=True, text=True))
    if done.returncode:
        raise RuntimeError(f"{side} {name} failed: {done.stderr[-2000:]}")
    return seconds, int(done.stdout.split("peak ")[1]) / 1e9


def compare(folder: Path, args: argparse.Namespace) -> bool:
    import torch

    torch.set_num_threads(args.threads)
    pieces = make_folder(folder, args.seed, DATA if DATA.exists() else None)
    workloads = make_workloads(folder, args.seed, args.quick)
    for name, workload in workloads.items():
        text = json.dumps(dataclasses.asdict(workload))
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    load = os.getloadavg()[0]

    lm, ours, half = LmEval(folder), Cupel(folder), Cupel(folder, "bfloat16")
    batch = best_batch_sizes(lm, workloads)
    rows = [(name, side) for name in workloads for side in (lm, ours)] + [("rolling", half)]
    seconds: dict[Any, list[float]] = {row: [] for row in rows}
    scores: dict[Any, list[float]] = {}
    rates: dict[str, float] = {"float32": 0.0, "bfloat16": 0.0}
    for turn in range(args.repeat + 1):  # the first is not counted
        for name, side in rows:
            workload = workloads[name].head(SEARCHED[name]) if turn == 0 else workloads[name]
            took, found = timed(lambda s=side, w=workload, n=batch[name]: s.score(w, n))
            if turn:
                seconds[name, side].append(took)
                scores[name, side] = found
                print(f"{turn} {name} {side.name} {side.dtype}: {took:.2f} s", file=sys.stderr)
        for dtype in rates:
            rates[dtype] = max(rates[dtype], gemm_rate(dtype))

    print(
        f"Llama of {CONFIG['num_hidden_layers']} blocks of {CONFIG['hidden_size']}, tokenizer of "
        f"{pieces} pieces, {processor()}, {args.threads} threads, torch {torch.__version__}; medians "
        f"of {args.repeat}. Matrix products: {rates['float32'] / 1e9:.0f} GFLOP/s float32, "
        f"{rates['bfloat16'] / 1e9:.0f} bfloat16. Load average {load:.2f} before, "
        f"{os.getloadavg()[0]:.2f} after.\n"
    )
    print("| workload | side | tokens run | seconds | lm-eval / this | GEMM limit |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    works = {name: forward_work(lm.tokenizer, workload) for name, workload in workloads.items()}
    for name, side in rows:
        work = works[name][side is not lm]
        took = statistics.median(seconds[name, side])
        label = f"lm-eval, batch {batch[name]}" if side is lm else f"cupel {side.dtype}"
        ratio = statistics.median(seconds[name, lm]) / took
        print(
            f"| {workloads[name].title} | {label} | {work.tokens:,} | {took:.2f} | {ratio:.2f} | "
            f"{work.flops / rates[side.dtype] / took:.0%} |"
        )
    print()
    agree = tell_agreement(workloads, scores, lm, ours, half)
    tell_processes(folder, workloads, batch, args.threads)
    return agree


def tell_agreement(
    workloads: dict[str, Workload],
    scores: dict[Any, list[float]],
    lm: LmEval,
    ours: Cupel,
    half: Cupel,
) -> bool:
    """Prints how far the sides are apart; False when too far."""
    agree = True
    for name, workload in workloads.items():
        text, too_far = disagreement(workload, scores[name, ours], scores[name, lm])
        print(f"- {workload.title}: {text}{' - TOO FAR' if too_far else ''}.")
        agree = agree and not too_far
    tokens = sum(len(lm.tokenizer.encode(text)) for text in workloads["rolling"].texts)
    single, double = (math.exp(-sum(scores["rolling", s]) / tokens) for s in (half, ours))
    change = single / double - 1
    print(f"- Perplexity in bfloat16: {single:.3f}, in float32 {double:.3f} ({change:+.3%}).")
    return agree


def tell_processes(
    folder: Path, workloads: dict[str, Workload], batch: dict[str, int], threads: int
) -> None:
    """Prints what only a process of its own shows: memory, and time with everything it takes."""
    sides = (LmEval.name, Cupel.name)
    whole = {
        (side, name): in_process(folder, side, name, batch[name], threads)
        for name in ("rolling", "letters")
        for side in sides
    }
    peaks = ", ".join(f"{side} {whole[side, 'rolling'][1]:.2f} GB" for side in sides)
    print(f"- {workloads['rolling'].title}, peak memory of a process: {peaks}.")
    times = ", ".join(f"{side} {whole[side, 'letters'][0]:.1f} s" for side in sides)
    print(f"- {workloads['letters'].title}, a process from start to end: {times}.")


def processor() -> str:
    path = Path("/proc/cpuinfo")
    names = [x for x in path.read_text().splitlines() if "model name" in x] if path.exists() else []
    return names[0].split(": ")[1] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    for name in ("--folder", "--side", "--workload", "--batch-size"):  # a run of its own
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        import torch

        torch.set_num_threads(args.threads)
        one_run(Path(args.folder), args.side, args.workload, int(args.batch_size))
        return
    with tempfile.TemporaryDirectory() as folder:
        if not compare(Path(folder), args):
            sys.exit("The sides disagree.")


if __name__ == "__main__":
    main()
