"""`cupel judge`: grades the answers that an evaluation recorded, with a judge of your choice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import load_tokenizer, whole_number
from .display import ProgressDisplay, table
from .errors import FAILED, INTERRUPTED, UsageError

if TYPE_CHECKING:
    import cupel

EXAMPLES = """judges:
  openai:URL,MODEL   any OpenAI-compatible endpoint; the key comes from $OPENAI_API_KEY (--key-env)
  queue:FOLDER       writes FOLDER/requests.jsonl and reads FOLDER/replies.jsonl, {"id", "text"} a line
  local:MODEL        a model folder

examples:
  cupel judge scores/50 --judge openai:https://api.openai.com/v1,gpt-4o --data data
  cupel judge scores/50 --judge openai:http://localhost:8000/v1,judge --mode pairwise \\
      --against scores/dense --data data
  cupel judge scores/50 --judge queue:todo --mode axes --tasks summarization --data data
  cupel judge grid --judge openai:http://localhost:8000/v1,judge

Replies are on the disk one by one, in --out. A pass that ended at any moment goes on when the same
command is called again, and asks nothing twice."""


def price(text: str) -> tuple[float, float]:
    """An argparse type: prices of prompt and reply tokens."""
    try:
        prompt, reply = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be PROMPT,REPLY, each for a million tokens. Got {text}."
        ) from None
    return prompt, reply


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "judge",
        help="grade recorded answers with a language model as the judge",
        description="Asks a judge about the answers that `cupel evaluate --out DIR` recorded, or about those "
        "of all models of a grid (`cupel kick`), each beside the dense one where pairs are judged.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "records", metavar="DIR", type=Path, help="--out folder of an evaluation or of a grid"
    )
    parser.add_argument("--judge", required=True, metavar="JUDGE", help="see below")
    parser.add_argument(
        "--mode",
        choices=("single", "pairwise", "axes"),
        default="single",
        help="a grade for each answer (default); which of two is better; four axes of summaries",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="the other model: --out folder of its evaluation, or a JSONL file of its answers",
    )
    parser.add_argument(
        "--order",
        choices=("both", "first", "second"),
        default="both",
        help="show each pair in both orders (default), or this model always there",
    )
    parser.add_argument(
        "--data", type=Path, help="the tasks' data: folder as for evaluate, or file"
    )
    parser.add_argument("--tasks", help="between commas (default: all records of texts)")
    parser.add_argument("--protocol", default="", help="whose answers (default: each task's first)")
    parser.add_argument(
        "--templates",
        type=Path,
        metavar="FILE",
        help="judge_prompts.jsonl or prompt.jsonl of FastChat (default: cupel's own prompts)",
    )
    parser.add_argument(
        "--references", type=Path, metavar="FILE", help="reference answers, FastChat's shape"
    )
    parser.add_argument("--parser", default="", help="how replies are read (default: see the docs)")
    parser.add_argument(
        "--repeats", type=whole_number(1), default=1, help="ask each question so often (default: 1)"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the first (default: 0)")
    parser.add_argument("--temperature", type=float, default=0.0, help="default: 0")
    parser.add_argument(
        "--max-tokens", type=whole_number(1), default=2048, help="of a reply (default: 2048)"
    )
    parser.add_argument("--limit", type=whole_number(1), help="the first items of each task")
    parser.add_argument(
        "--on-error",
        choices=("stop", "count"),
        default="stop",
        help="failed requests: no scores (default), or count them as unparsed",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for replies and scores (default: DIR/judged/MODE)"
    )
    remote = parser.add_argument_group("openai")
    remote.add_argument("--key-env", default="OPENAI_API_KEY", help="variable that holds the key")
    remote.add_argument("--concurrency", type=whole_number(1), default=8, help="default: 8")
    remote.add_argument("--retries", type=whole_number(0), default=8, help="default: 8")
    remote.add_argument("--timeout", type=float, default=120.0, help="seconds (default: 120)")
    remote.add_argument("--requests-per-minute", type=float, metavar="N", help="default: no limit")
    remote.add_argument(
        "--prices", type=price, metavar="PROMPT,REPLY", help="for a million tokens each"
    )
    remote.add_argument("--max-cost", type=float, help="stop there; needs --prices")
    local = parser.add_argument_group("local")
    local.add_argument("--device", default="cpu", help="default: cpu")
    local.add_argument("--dtype", default="auto", help="of the weights (default: as stored)")
    local.add_argument(
        "--template",
        default="auto",
        metavar="NAME",
        help="chat template: vicuna_v1.1, llama-2, chatml, none; auto (default): the folder's own",
    )


def local_judge(folder: Path, args: argparse.Namespace) -> cupel.Judge:
    """A model folder as a judge."""
    import cupel

    if not folder.is_dir():
        raise UsageError(f"local:MODEL names a model folder. Got {folder}.")
    try:
        chat = cupel.chat_template(folder if args.template == "auto" else args.template)
    except ValueError as error:
        if args.template != "auto" or isinstance(error, cupel.FormatError):
            raise
        known = ", ".join(cupel.chat_templates())
        raise UsageError(
            f"{folder} has no chat template: name one with --template: {known}."
        ) from None
    model = cupel.load_model(folder, dtype=args.dtype, device=args.device)
    return cupel.LocalJudge(cupel.ModelScorer(model, load_tokenizer(folder)), chat)


def make_judge(args: argparse.Namespace) -> cupel.Judge:
    """The judge that --judge names."""
    import cupel

    kind, _, rest = args.judge.partition(":")
    if kind == "openai" and rest:
        url, _, model = rest.partition(",")
        if not model:
            raise UsageError(f"openai:URL,MODEL names a model. Got {args.judge}.")
        return cupel.OpenAIJudge(
            url,
            model,
            key_env=args.key_env or None,
            retries=args.retries,
            requests_per_minute=args.requests_per_minute,
            timeout=args.timeout,
            concurrency=args.concurrency,
            prices=args.prices,
            max_cost=args.max_cost,
        )
    if kind == "queue" and rest:
        return cupel.QueueJudge(rest)
    if kind == "local" and rest:
        return local_judge(Path(rest), args)
    raise UsageError(f"--judge is openai:URL,MODEL, queue:FOLDER or local:MODEL. Got {args.judge}.")


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    grid = (args.records / "kick.json").is_file()
    if grid and args.against:
        raise UsageError("the models of a grid are put beside its dense one: leave --against out.")
    if grid and args.out:
        raise UsageError("a grid's grades stand below its models' folders: leave --out out.")
    if args.mode == "pairwise" and args.against is None and not grid:
        raise UsageError("--mode pairwise needs the other model's answers: add --against DIR.")
    if not args.records.exists():
        raise UsageError(f"DIR is the --out folder of an evaluation or a grid. Got {args.records}.")
    out = args.out or (args.records if args.records.is_dir() else args.records.parent) / (
        f"judged/{args.mode}"
    )
    if grid:
        out = args.records / "judged" / args.mode
    try:
        return judge_grid(args) if grid else judge(args, out)
    except KeyboardInterrupt:
        print(
            f"cupel: interrupted; {out} holds the replies so far, and the same command goes on.",
            file=sys.stderr,
        )
        return INTERRUPTED


def judge(args: argparse.Namespace, out: Path) -> int:
    """Asks, prints and writes."""
    import cupel

    chosen = make_judge(args)
    with ProgressDisplay("judge") as display:
        result = cupel.judge(
            args.records,
            chosen,
            against=args.against,
            data=args.data,
            out=out,
            progress=display,
            **options(args),
        )
    if not result.complete:
        return report_missing(args, result)
    print(
        table(("task", "value", "mean", "judge error", "item error", "low", "high"), rows(result))
    )
    for line in notes(args, result):
        print(line)
    print(f"Written to {out}: scores.json, judgments.jsonl, judge.json.")
    return 0


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What a pass over one model and a pass over a grid have in common."""
    return {
        "mode": args.mode,
        "templates": args.templates,
        "parser": args.parser,
        "references": args.references,
        "order": args.order,
        "tasks": args.tasks.split(",") if args.tasks else [],
        "protocol": args.protocol,
        "on_error": args.on_error,
        "repeats": args.repeats,
        "seed": args.seed,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "limit": args.limit or 0,
    }


def judge_grid(args: argparse.Namespace) -> int:
    """The same for all models of a grid."""
    import cupel

    with ProgressDisplay("judge") as display:
        results = cupel.judge_grid(
            args.records,
            make_judge(args),
            data=args.data,
            progress=lambda _, step: display(step),
            **options(args),
        )
    complete = {name: result for name, result in results.items() if result.complete}
    if complete:
        columns = ("model", "task", "value", "mean", "judge error", "item error", "low", "high")
        lines = [[name, *row] for name, result in complete.items() for row in rows(result)]
        print(table(columns, lines))
    for name, result in complete.items():
        for line in notes(args, result):
            print(f"{name}: {line}")
    missing = {name: result for name, result in results.items() if not result.complete}
    for name, result in missing.items():
        report_missing(args, result, name)
    if missing:
        return FAILED
    print(f"Written below the models' folders; `cupel report {args.records}` shows the grades.")
    return 0


def rows(result: cupel.JudgeResult) -> list[list[str]]:
    """A row for each value of each task."""

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    found = []
    for task, protocols in result.scores.metrics.items():
        for metrics in protocols.values():
            for name in metrics:
                if not name.endswith("_low"):
                    continue
                value = name.removesuffix("_low")
                ends = ("", "_judge_error", "_item_error", "_low", "_high")
                found.append([task, value, *(text(metrics.get(value + end)) for end in ends)])
    return found


def notes(args: argparse.Namespace, result: cupel.JudgeResult) -> list[str]:
    """What the table does not say."""
    lines = [
        f"{len(result.judgments)} judgments, {result.unparsed} of them unparsed; low and high: the "
        "mean if all of these had the lowest grade, or the highest."
    ]
    if args.repeats > 1:
        lines.append(
            "judge error: of the mean, from repeats; item error: from the spread of items."
        )
    for task, protocols in result.scores.metrics.items():
        for metrics in protocols.values():
            if "pairs" in metrics:
                lines.append(
                    f"{task}: of {metrics['pairs']:.0f} pairs {metrics['pairs_inconsistent']:.0f} "
                    f"changed with the order and count as ties; {metrics['first_twice']:.0f} times the "
                    f"first answer won twice, {metrics['second_twice']:.0f} times the second."
                )
    tokens = f"{result.prompt_tokens} prompt tokens and {result.tokens} reply tokens"
    lines.append(
        f"{result.requests} requests, {result.asked} of them asked now"
        + (f"; {tokens}" if result.tokens else "")
        + (f"; cost {result.cost:.4g}" if result.cost else "")
        + "."
    )
    return lines + list(result.notes)


def report_missing(
    args: argparse.Namespace, result: cupel.JudgeResult, name: str | None = None
) -> int:
    """What is missing, and what to do; `name` is that of a model of a grid."""
    kind, _, rest = args.judge.partition(":")
    start = "cupel: " if name is None else f"cupel: {name}: "
    if result.failed:
        print(
            f"{start}{result.failed} of {result.requests} requests failed, the first one: "
            f"{result.failures[0]}. The other replies are kept; the same command asks these again, and "
            "--on-error count scores without them.",
            file=sys.stderr,
        )
    if result.pending:
        folder = rest if name is None else f"{rest}/{name}"
        where = f" Replies go to {folder}/replies.jsonl, then the same command." * (kind == "queue")
        print(
            f"{start}{result.pending} of {result.requests} replies are pending; nothing was "
            f"scored.{where}",
            file=sys.stderr,
        )
    return FAILED
