"""`cupel evaluate`: scores a model, alone or against the one it was made from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_model, check_length, load_tokenizer, whole_number
from .display import ProgressDisplay, table
from .errors import SHORTER, UsageError, hint

if TYPE_CHECKING:
    import cupel

EXAMPLES = """examples:
  cupel evaluate MODEL --tasks perplexity --text wiki.test.raw --out scores/dense
  cupel evaluate MODEL-50 --tasks perplexity --text wiki.test.raw --against MODEL --out scores/50"""


def tasks(text: str) -> list[str]:
    """An argparse type: tasks between commas, each "name" or "name:key=value,key=value"."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in part and ":" not in part.split("=")[0]:
            found[-1] += f",{part}"  # one more option of the task before
        else:
            found.append(part)
    return found


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a model, alone or against another one",
        description="Runs tasks on a model. With --against the same is done with the dense model,\n"
        "and the two are compared window by window.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument(
        "--tasks",
        type=tasks,
        default=["perplexity"],
        help="between commas, each NAME or NAME:KEY=VALUE,...; known: perplexity (default)",
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="text for perplexity")
    parser.add_argument(
        "--length",
        type=whole_number(2),
        help="tokens a window (default: 2048, or the model's positions if it has fewer)",
    )
    parser.add_argument("--protocol", default="gptq", help="of the perplexity (default: gptq)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="the dense model, or the --out folder of an earlier evaluation of it",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write scores.json, scores.csv and scores.md there"
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses what cannot work before a model is loaded."""
    without = [task for task in args.tasks if task.startswith("perplexity") and "file=" not in task]
    if without and args.text is None and args.data is None:
        raise UsageError("perplexity needs a text: add --text FILE, or --data DIR.")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out must be a folder. Got the file {args.out}.")
    if args.against is not None and not any(
        (args.against / name).is_file() for name in ("config.json", "scores.json")
    ):
        raise ValueError(
            f"--against must be a model folder (config.json) or a folder with scores.json. "
            f"Got {args.against}, which has neither."
        )


def score(folder: Path, args: argparse.Namespace) -> cupel.ReportEntry:
    """Scores the model in `folder` and measures its files."""
    import cupel

    from .sizes import packed_bytes

    # The positions are looked at before all of the weights are read.
    positions = cupel.load_model(folder, lazy=True).config.max_positions
    if args.length is not None:
        check_length(args.length, positions)
    tokenizer = load_tokenizer(folder)
    model = cupel.load_model(folder, dtype=args.dtype, device=args.device)
    with (
        ProgressDisplay(f"evaluate {name_of(folder)}") as display,
        hint("fill one window", SHORTER),
    ):
        scores = cupel.evaluate(
            model,
            tokenizer,
            args.tasks,
            data=args.data,
            text=args.text,
            length=args.length or 0,
            protocol=args.protocol,
            progress=display,
        )
    return cupel.ReportEntry(
        name_of(folder), scores, cupel.weight_bytes_on_disk(folder), packed_bytes(folder)
    )


def dense_entry(args: argparse.Namespace) -> cupel.ReportEntry:
    """The other side of --against: a model to score, or the scores of an earlier evaluation."""
    import cupel

    if (args.against / "config.json").is_file():
        return score(args.against, args)
    path = args.against / "scores.json"
    scores = cupel.Scores.from_json(path.read_text(encoding="utf-8"), str(path))
    return cupel.ReportEntry(name_of(args.against), scores)


def name_of(folder: Path) -> str:
    """What a model is called in tables."""
    return folder.resolve().name


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    check_arguments(args)
    import cupel

    entry = score(args.model, args)
    dense = dense_entry(args) if args.against is not None else None
    made = cupel.score_table(dense, [entry])
    print(table(made.columns, made.rows))
    if dense is not None:
        print("standard_error is that of loss_difference (nats per token), paired over windows.")
    if args.out is None:
        print("Nothing was saved; --out DIR keeps the scores.")
    else:
        cupel.write_report(args.out, entry, dense)
        print(f"Written to {args.out}: scores.json, scores.csv, scores.md.")
    return 0
