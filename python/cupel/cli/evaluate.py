"""`cupel evaluate`: scores a model, alone or against the one it was made from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_model, check_length, load_tokenizer, whole_number
from .display import ProgressDisplay, table
from .errors import INTERRUPTED, SHORTER, UsageError, hint

if TYPE_CHECKING:
    import cupel

EXAMPLES = """examples:
  cupel evaluate MODEL --tasks perplexity --text wiki.test.raw --out scores/dense
  cupel evaluate MODEL-50 --tasks perplexity --text wiki.test.raw --against MODEL --out scores/50
  cupel evaluate MODEL --tasks multiple_choice:file=questions.jsonl --out scores/dense --resume

With --out each task writes what it has into DIR/records as it goes (with --against MODEL, for that one
into DIR/dense/records). A run that ended at any moment goes on with --resume."""

FILES = ("scores.json", "scores.csv", "tasks.csv", "scores.md", "comparison.json", "records")


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
        "and the two are compared window by window and item by item.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument(
        "--tasks",
        type=tasks,
        default=["perplexity"],
        help="between commas, each NAME or NAME:KEY=VALUE,...; perplexity (default), mmlu, factoid_qa, "
        "retrieval_qa, multiple_choice and generation, and your own (KEY file: its data)",
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="text for perplexity")
    parser.add_argument(
        "--length",
        type=whole_number(2),
        help="tokens a window (default: 2048, or the model's positions if it has fewer)",
    )
    parser.add_argument(
        "--protocol",
        default="gptq",
        help="of the perplexity: gptq (default), harness, llamacpp or strided",
    )
    parser.add_argument(
        "--stride", type=whole_number(1), help="of the protocol strided (default: half the length)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--limit", type=whole_number(1), help="run the first so many items or windows of each task"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of sampling (default: 0)")
    parser.add_argument(
        "--batch-tokens", type=whole_number(1), default=2048, help="run together (default: 2048)"
    )
    parser.add_argument(
        "--boundary",
        choices=("joint", "split", "harness"),
        default="joint",
        help="where an answer begins when a token spans the join with its question (default: joint)",
    )
    parser.add_argument(
        "--verify-prefix",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="score so many requests of each batch again without shared prefixes, and stop when one "
        "differs (default: 0)",
    )
    parser.add_argument(
        "--over-long",
        choices=("error", "truncate_left"),
        default="error",
        help="what to do with a request longer than the model (default: error)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="the dense model, or the --out folder of an earlier evaluation of it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write records, scores.json, scores.csv and scores.md there",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the records that --out holds"
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses what cannot work before a model is loaded."""
    without = [task for task in args.tasks if task.startswith("perplexity") and "file=" not in task]
    if without and args.text is None and args.data is None:
        raise UsageError("perplexity needs a text: add --text FILE, or --data DIR.")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out must be a folder. Got the file {args.out}.")
    if args.resume and args.out is None:
        raise UsageError("--resume goes on with the records of an --out folder: add --out DIR.")
    if args.against is not None and not any(
        (args.against / name).is_file() for name in ("config.json", "scores.json")
    ):
        raise ValueError(
            f"--against must be a model folder (config.json) or a folder with scores.json. "
            f"Got {args.against}, which has neither."
        )


def score(folder: Path, args: argparse.Namespace, out: Path | None) -> cupel.ReportEntry:
    """Scores the model in `folder`, with records below `out`, and measures its files."""
    import cupel

    from .._chat import use_asked_template
    from .sizes import packed_bytes

    # The positions are looked at before all of the weights are read.
    positions = cupel.load_model(folder, lazy=True).config.max_positions
    if args.length is not None:
        check_length(args.length, positions)
    tokenizer = load_tokenizer(folder)
    use_asked_template(folder, args.tasks)
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
            stride=args.stride or 0,
            limit=args.limit or 0,
            record=None if out is None else out / "records",
            resume=args.resume,
            seed=args.seed,
            boundary=args.boundary,
            over_long=args.over_long,
            verify_prefix=args.verify_prefix,
            batch_tokens=args.batch_tokens,
            progress=display,
        )
    return cupel.ReportEntry(
        name_of(folder), scores, cupel.weight_bytes_on_disk(folder), packed_bytes(folder)
    )


def dense_entry(args: argparse.Namespace) -> cupel.ReportEntry:
    """The other side of --against: a model to score, or the scores of an earlier evaluation."""
    import cupel

    if (args.against / "config.json").is_file():
        out = None if args.out is None else args.out / "dense"
        entry = score(args.against, args, out)
        if out is not None:
            cupel.write_report(out, entry)
        return entry
    path = args.against / "scores.json"
    scores = cupel.EvalResult.from_json(path.read_text(encoding="utf-8"), str(path))
    return cupel.ReportEntry(name_of(args.against), scores)


def name_of(folder: Path) -> str:
    """What a model is called in tables."""
    return folder.resolve().name


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    check_arguments(args)
    try:
        evaluate(args)
    except KeyboardInterrupt:
        if args.out is None:
            raise
        again = "the same command" if args.resume else "the same command and --resume"
        print(
            f"cupel: interrupted; {args.out} holds what was scored, and {again} goes on from there.",
            file=sys.stderr,
        )
        return INTERRUPTED
    return 0


def evaluate(args: argparse.Namespace) -> None:
    """Scores, compares, prints and writes."""
    import cupel

    entry = score(args.model, args, args.out)
    dense = dense_entry(args) if args.against is not None else None
    if dense is not None:
        comparison = cupel.compare(dense.scores, entry.scores)
        entry = cupel.ReportEntry(
            entry.name, entry.scores, entry.disk_bytes, entry.packed_bytes, comparison
        )
    tables = [make(dense, [entry]) for make in (cupel.score_table, cupel.task_table)]
    print("\n\n".join(table(made.columns, made.rows) for made in tables if made.rows))
    for note in notes(entry, dense):
        print(note)
    if args.out is None:
        print("Nothing was saved; --out DIR keeps the scores.")
    else:
        cupel.write_report(args.out, entry, dense)
        found = (name for name in FILES if (args.out / name).exists())
        print(f"Written to {args.out}: {', '.join(found)}.")


def notes(entry: cupel.ReportEntry, dense: cupel.ReportEntry | None) -> list[str]:
    """What the numbers of the tables do not say."""
    lines = []
    if dense is not None and entry.comparison.perplexities:
        lines.append(
            "standard_error is that of loss_difference (nats per token), paired over blocks."
        )
    if dense is not None and entry.comparison.tasks:
        lines.append(
            "low and high: 95 % interval of the difference; p_holm: McNemar's test, adjusted for all "
            "rows; verdict: whether 95 % of the dense score is kept."
        )
    if dense is not None:
        lines += [f"Only one side has {task}." for task in entry.comparison.unpaired]
        lines += entry.comparison.notes
    run = entry.scores.run
    if run.items_recorded:
        lines.append(f"{run.items_recorded} items came from records of an earlier run.")
    if run.dropped_lines:
        lines.append(f"{run.dropped_lines} lines of a half-written batch were scored again.")
    return lines + list(run.notes)
