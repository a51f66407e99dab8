"""`cupel compress`: a model folder in, a compressed model folder out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import methods
from .arguments import add_model, check_length, load_tokenizer, whole_number
from .display import ProgressDisplay, bytes_text, pairs
from .errors import SHORTER, UsageError, hint

if TYPE_CHECKING:
    import cupel

EXAMPLES = """examples:
  cupel compress MODEL --method wanda --sparsity 0.5 --calibration c4.jsonl --out MODEL-50
  cupel compress MODEL --method wanda --pattern 2:4 --calibration c4.jsonl --out MODEL-2of4
  cupel compress MODEL --method gptq --bits 4 --group 128 --calibration c4.jsonl --out MODEL-4bit
  cupel compress MODEL --method sparsegpt,gptq --pattern 2:4 --bits 4 --calibration c4.jsonl \\
      --out MODEL-2of4-4bit
  cupel compress MODEL --bits 4 --group 128 --out MODEL-rtn-4bit"""


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
    methods.add_arguments(parser)
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
    parser.add_argument(
        "--format",
        choices=("auto", "dense", "pack-quantized"),
        default="auto",
        help="of the weights: pack-quantized (compressed-tensors, 4 and 8 bits) is small, dense is "
        "what every tool reads; auto packs what can be packed",
    )


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


def choose_format(args: argparse.Namespace, config: cupel.ModelConfig) -> tuple[str, str]:
    """The format to write, and why it is not the small one; a UsageError when that was asked for."""
    reasons = []
    if args.bits is None:
        reasons.append("nothing is quantized")
    elif args.bits not in (4, 8):
        reasons.append(f"{args.bits} bits have no packed format")
    if args.order != "none" and args.group and not args.static_groups:
        reasons.append("act-order groups need --static-groups to be packed")
    if args.group:
        widths = {config.hidden, config.intermediate, config.heads * config.head_dim}
        uneven = sorted(width for width in widths if width % args.group)
        if uneven:
            reasons.append(f"groups of {args.group} do not divide {uneven[0]} columns")
    if args.format == "pack-quantized" and reasons:
        raise UsageError(f"--format pack-quantized: {reasons[0]}.")
    if args.format == "dense":
        return "dense", "as asked"
    return ("dense", reasons[0]) if reasons else ("pack-quantized", "")


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    import cupel

    compressor = methods.make_compressor(args)
    allocation = methods.make_allocation(args)
    needs_text = compressor.needs != cupel.Needs.none or (allocation and allocation.needs_text)
    if needs_text and args.calibration is None:
        raise UsageError(
            f"{args.allocation if compressor.needs == cupel.Needs.none else args.method} needs "
            "calibration text: add --calibration FILE (.txt or .jsonl)."
        )
    check_out(args.out)
    model = cupel.load_model(args.model, dtype=args.dtype, lazy=True)
    form, why_dense = choose_format(args, model.config)
    scale_dtype = args.scale_dtype
    if scale_dtype == "auto":
        packed = form == "pack-quantized"
        scale_dtype = str(model.dtype).removeprefix("torch.") if packed else "float32"
    compressor = methods.make_compressor(args, scale_dtype)
    windows = calibration_windows(args, model.config.max_positions)
    with ProgressDisplay("compress") as display:
        result = cupel.compress_checkpoint(
            args.model,
            windows,
            compressor,
            args.out,
            propagation=args.propagation,
            skip=args.skip,
            only=args.only,
            allocation=allocation,
            keep_zeros=args.keep_zeros,
            dtype=args.dtype,
            device=args.device,
            format=form,
            progress=display,
        )
    print(summary(result, args.model, args.out, form, why_dense))
    return 0


def summary(
    result: cupel.CompressionResult, dense: Path, compressed: Path, form: str, why_dense: str
) -> str:
    """What was done and what it takes, in a few lines."""
    import cupel

    from .sizes import packed_bytes

    measured = [layer for layer in result.layers if layer.relative_error is not None]
    rows = [
        ("method", result.method),
        ("allocation", result.allocation),
        ("layers", f"{len(result.layers)} compressed, {len(result.skipped)} left alone"),
        ("weights", f"{result.weights:,}"),
        ("sparsity", f"{result.sparsity:.4%} exact zeros"),
    ]
    rows = [row for row in rows if row[1]]
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
        ("format", form if form != "dense" else f"dense ({why_dense})"),
        ("on disk, dense", bytes_text(cupel.weight_bytes_on_disk(dense))),
        ("on disk, compressed", bytes_text(cupel.weight_bytes_on_disk(compressed))),
    ]
    if form == "dense":
        rows.append(("if packed (computed)", bytes_text(packed_bytes(compressed))))
    rows += [("seconds", f"{result.seconds:.1f}"), ("written to", str(compressed))]
    notes = told(result)
    if form == "dense":
        notes.append(
            "Written in the dense format: not smaller on disk than the weights it was made from."
        )
    if not measured:
        notes.append("Errors are '-': they are measured on text, and no --calibration was given.")
    return "\n".join([pairs(rows), *notes])


def told(result: cupel.CompressionResult) -> list[str]:
    """A line for each layer where a method had to do something else than was asked."""
    lines = []
    for layer in result.layers:
        if layer.rungs:
            lines.append(
                f"{layer.name}: damping {layer.damping:g} after {len(layer.rungs)} attempts."
            )
        lines += [f"{layer.name}: {note}." for note in layer.notes if " instead" in note]
    return lines
