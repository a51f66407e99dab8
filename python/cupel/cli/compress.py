"""`cupel compress`: a model folder in, a compressed model folder out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_model, check_length, load_tokenizer, whole_number
from .display import ProgressDisplay, bytes_text, pairs
from .errors import SHORTER, UsageError, hint

if TYPE_CHECKING:
    import cupel

EXAMPLES = """examples:
  cupel compress MODEL --method wanda --sparsity 0.5 --calibration c4.jsonl --out MODEL-50
  cupel compress MODEL --method wanda --pattern 2:4 --calibration c4.jsonl --out MODEL-2of4
  cupel compress MODEL --bits 4 --group 128 --out MODEL-4bit"""


def sparsity(text: str) -> float:
    """An argparse type: a fraction."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 1 < value <= 100:
        raise argparse.ArgumentTypeError(
            f"must be a fraction from 0 to 1. Got {text}; for {text} % write {value / 100:g}."
        )
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1. Got {text}.")
    return value


def pattern(text: str) -> tuple[int, int]:
    """An argparse type: n:m."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    n, m = (int(match[1]), int(match[2])) if match else (1, 0)
    if n > m:
        raise argparse.ArgumentTypeError(
            f"must be n:m, n kept of every m columns, so n is at most m (2:4 keeps two of four). "
            f"Got {text}."
        )
    return n, m


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "compress",
        help="compress a model folder into another one",
        description="Compresses every linear layer inside the blocks of a model, with one block in\n"
        "memory at a time, and writes a folder that transformers loads.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument(
        "--method",
        help="magnitude or wanda (with --sparsity or --pattern), rtn (with --bits)",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--sparsity", type=sparsity, metavar="S", help="fraction of zeros, 0 to 1")
    target.add_argument("--pattern", type=pattern, metavar="N:M", help="keep N of every M columns")
    target.add_argument(
        "--bits", type=whole_number(1, 8), metavar="B", help="quantize, 1 to 8 bits"
    )
    parser.add_argument(
        "--group",
        type=whole_number(0),
        default=0,
        help="columns that share a scale (default: 0, a whole row)",
    )
    parser.add_argument("--symmetric", action="store_true", help="fixed zero point")
    parser.add_argument("--rules", choices=("exact", "published"), default="exact")
    text = parser.add_argument_group("calibration")
    text.add_argument("--calibration", type=Path, metavar="FILE", help=".txt, .jsonl or .jsonl.gz")
    text.add_argument("--samples", type=whole_number(1), default=128, help="default: 128")
    text.add_argument(
        "--length",
        type=whole_number(1),
        help="tokens a sample (default: 2048, or the model's positions if it has fewer)",
    )
    text.add_argument("--seed", type=whole_number(0), default=0, help="default: 0")
    text.add_argument("--propagation", choices=("staged", "block", "dense"), default="staged")
    layers = parser.add_argument_group("layers (exact names, globs such as '*.mlp.*', or re:REGEX)")
    layers.add_argument("--skip", nargs="+", default=[], metavar="PAT", help="leave these alone")
    layers.add_argument("--only", nargs="+", default=[], metavar="PAT", help="compress only these")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")


def make_compressor(args: argparse.Namespace) -> cupel.Compressor:
    """The compressor that the arguments name, or a UsageError."""
    import cupel

    method = args.method or ("rtn" if args.bits else None)
    known = ", ".join([*cupel.criteria(), "rtn"])
    if method is None:
        raise UsageError(
            f"--sparsity and --pattern need a --method, such as wanda; known: {known}."
        )
    if method == "rtn":
        if not args.bits:
            raise UsageError("rtn quantizes: give it --bits instead of --sparsity or --pattern.")
        grid = cupel.Grid(bits=args.bits, group=args.group, symmetric=args.symmetric)
        return cupel.Rtn(grid, rules=args.rules)
    if method not in cupel.criteria():
        raise UsageError(f"unknown --method {method}; known: {known}.")
    if args.bits:
        raise UsageError(f"{method} prunes: give it --sparsity or --pattern; --bits is for rtn.")
    goal = cupel.n_of_m(*args.pattern) if args.pattern else cupel.unstructured(args.sparsity)
    return cupel.Prune(method, goal, rules=args.rules)


def check_out(folder: Path) -> None:
    """Refuses to write over a model, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out must be a folder. Got the file {folder}.")
    held = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if held:
        raise ValueError(
            f"--out must not hold a model already. Got {held[0].name} in {folder}; "
            "choose another folder, or remove this one."
        )


def calibration_windows(args: argparse.Namespace, positions: int) -> Any:
    """The calibration tokens that the arguments ask for, or None without --calibration."""
    import cupel

    length = args.length or min(2048, positions)
    check_length(length, positions)
    if args.calibration is None:
        return None
    tokenizer = load_tokenizer(args.model)
    with hint("tokens", SHORTER):
        return cupel.sample_windows(
            args.calibration, tokenizer, samples=args.samples, length=length, seed=args.seed
        )


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    import cupel

    compressor = make_compressor(args)
    if compressor.needs != cupel.Needs.none and args.calibration is None:
        raise UsageError(
            f"{args.method} needs calibration text: add --calibration FILE (.txt or .jsonl)."
        )
    check_out(args.out)
    config = cupel.load_model(args.model, lazy=True).config
    windows = calibration_windows(args, config.max_positions)
    with ProgressDisplay("compress") as display:
        result = cupel.compress_checkpoint(
            args.model,
            windows,
            compressor,
            args.out,
            propagation=args.propagation,
            skip=args.skip,
            only=args.only,
            dtype=args.dtype,
            device=args.device,
            progress=display,
        )
    print(summary(result, args.model, args.out))
    return 0


def summary(result: cupel.CompressionResult, dense: Path, compressed: Path) -> str:
    """What was done and what it takes, in a few lines."""
    import cupel

    from .sizes import packed_bytes

    measured = [layer for layer in result.layers if layer.relative_error is not None]
    rows = [
        ("method", result.method),
        ("layers", f"{len(result.layers)} compressed, {len(result.skipped)} left alone"),
        ("weights", f"{result.weights:,}"),
        ("sparsity", f"{result.sparsity:.4%} exact zeros"),
    ]
    if measured:
        worst = max(measured, key=lambda layer: layer.relative_error)
        mean = sum(layer.relative_error for layer in measured) / len(measured)
        rows += [
            ("mean relative error", f"{mean:.4g}"),
            ("worst layer", f"{worst.name} ({worst.relative_error:.4g})"),
        ]
    else:
        rows += [("mean relative error", "-"), ("worst layer", "-")]
    rows += [
        ("on disk, dense", bytes_text(cupel.weight_bytes_on_disk(dense))),
        ("on disk, compressed", bytes_text(cupel.weight_bytes_on_disk(compressed))),
        ("if packed (computed)", bytes_text(packed_bytes(compressed))),
        ("seconds", f"{result.seconds:.1f}"),
        ("written to", str(compressed)),
    ]
    notes = ["Written in the dense format: not smaller on disk than the weights it was made from."]
    if not measured:
        notes.append("Errors are '-': they are measured on text, and no --calibration was given.")
    return "\n".join([pairs(rows), *notes])
