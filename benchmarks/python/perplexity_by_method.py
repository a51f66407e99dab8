"""Perplexity of one model under every method, staged against block propagation, as Markdown.

    python benchmarks/python/perplexity_by_method.py [--model MODEL --calibration FILE --heldout FILE]

Without arguments it works on the small model that comes with cupel. Every row is a model of its own,
compressed from the dense one. Not a timing: the numbers depend on model, text and seed alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import cupel


def methods(group: int) -> list[tuple[str, str, Any]]:
    """(level, name, compressor) of every row."""
    rows = []
    goals = {
        "50 %": cupel.unstructured(0.5),
        "4:8": cupel.n_of_m(4, 8),
        "2:4": cupel.n_of_m(2, 4),
    }
    for level, goal in goals.items():
        rows += [(level, name, cupel.Prune(name, goal)) for name in ("magnitude", "wanda", "ria")]
        rows.append((level, "sparsegpt", cupel.SparseGpt(goal)))
    for bits in (4, 3, 2):
        level, grid = f"{bits} bits", cupel.Grid(bits=bits, group=group)
        searched = cupel.Grid(bits=bits, group=group, clip="hessian")
        rows += [
            (level, "rtn", cupel.Rtn(grid)),
            (level, "gptq", cupel.Gptq(grid)),
            (level, "gptq act-order", cupel.Gptq(grid, order="activation")),
            (level, "gptq clip=hessian", cupel.Gptq(searched)),
        ]
    both = [cupel.SparseGpt(goals["2:4"]), cupel.Gptq(cupel.Grid(bits=4, group=group))]
    joint = cupel.SparseGpt(goals["2:4"], grid=cupel.Grid(bits=4, group=group))
    rows += [("2:4 + 4 bits", "sparsegpt, gptq", both), ("2:4 + 4 bits", "sparsegpt joint", joint)]
    return rows


def head_of(text: Path, characters: int, folder: str) -> Path:
    """The first lines of a text, up to about `characters`; the text itself for 0."""
    if not characters:
        return text
    cut = Path(folder) / text.name
    cut.write_text(text.read_text(encoding="utf-8")[:characters], encoding="utf-8")
    return cut


def main() -> None:
    shipped = cupel.touchstone.folder()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=shipped)
    parser.add_argument("--calibration", type=Path, default=shipped / cupel.touchstone.CALIBRATION)
    parser.add_argument("--heldout", type=Path, default=shipped / cupel.touchstone.HELDOUT)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--group", type=int, default=0, help="columns a grid; 0 = a row")
    parser.add_argument("--characters", type=int, default=0, help="of the held-out text; 0 = all")
    args = parser.parse_args()

    tokenizer = cupel.load_tokenizer(args.model)
    windows = cupel.sample_windows(
        args.calibration, tokenizer, samples=args.samples, length=args.length, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        heldout = head_of(args.heldout, args.characters, folder)

        def score(model: cupel.Model) -> cupel.Perplexity:
            return cupel.perplexity(model, tokenizer, heldout, length=args.length)

        dense = score(cupel.load_model(args.model))
        print(
            f"Dense: {dense.value:.3f} ({dense.windows} windows of {dense.length} tokens, protocol "
            f"{dense.protocol}); calibrated on {args.samples} windows of {args.length}.\n"
        )
        print("| level | method | staged | block |\n| --- | --- | ---: | ---: |")
        impossible = {}
        for level, name, compressor in methods(args.group):
            cells = []
            for propagation in ("staged", "block"):
                model = cupel.load_model(args.model)
                try:
                    cupel.compress(
                        model, windows, compressor, propagation=propagation, measure_loss=False
                    )
                    cells.append(f"{score(model).value:.3f}")
                except ValueError as error:  # m that does not divide a width
                    impossible[level] = str(error)
                    cells.append("-")
                print(f"{level} {name} {propagation}", file=sys.stderr)
            print(f"| {level} | {name} | {' | '.join(cells)} |", flush=True)
        for level, reason in impossible.items():
            print(f"\n{level}: {reason}")


if __name__ == "__main__":
    main()
