"""`cupel demo`: LLM-KICK on the small model that comes with cupel, whose every fact is known."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import table
from .errors import FAILED, INTERRUPTED, one_line
from .kick import add_workers, run_shown

if TYPE_CHECKING:
    from .._kick.runner import Plan
    from ..html_report.analysis import Analysis, Row

GRID = "grid.yaml"  # beside the model that comes with cupel
MOST_WORKERS = 8
# A first look: one level that shows little, one that shows much, one of bits.
QUICK = {
    "methods": ["wanda"], "sparsity": [0.3, 0.6], "patterns": [], "quantizers": ["gptq"], "bits": [3],
    "samples": [16], "limit": 50,
}  # fmt: skip
QUICK_PER_SUBJECT = 10  # multiple-choice questions; the first 50 would all be of one subject
MARKS = {
    "matching": ("✓", "+"),
    "not matching": ("✕", "-"),
    "undecided": ("?", "?"),
    "": ("–", "."),
}
READING = (
    "{0} keeps 95 % of the dense score, {1} does not, {2} the items do not suffice to say (95 % "
    "confidence); behind it what is left of the score, in percent. Perplexities: times the dense one."
)


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "demo",
        help="see what compression costs the small model that comes with cupel",
        description="Writes the made-up world that the model of cupel was trained on, prunes and "
        "quantizes the model in 21 ways, asks each what the dense one knows, and says what was lost "
        "and whether perplexity showed it. Takes a few minutes.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("cupel-demo"),
        metavar="DIR",
        help="folder to write, new or empty (default: cupel-demo)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="another model of the same world (default: the one that comes with cupel)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="three compressed models and 50 items of each task"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what --out holds")
    add_workers(parser, None)


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    import torch

    from .. import touchstone
    from .._kick.config import make_grid, read_config
    from .._kick.runner import prepare
    from ..html_report import write_pages
    from ..html_report.analysis import analyse
    from ..html_report.grid import read_grid

    model, out = args.model or touchstone.folder(), args.out / "grid"
    config = read_config(touchstone.folder().parent / GRID, args.out)
    if args.quick:
        config |= QUICK
        config["tasks"] = [
            task.with_text(f"{task},per_subject={QUICK_PER_SUBJECT}")
            if task.startswith("mmlu:")
            else task
            for task in config["tasks"]
        ]
    grid = make_grid(config, {})
    begun = (out / "kick.json").is_file()
    if not begun:
        write_world(args.out)
    try:
        workers = args.workers or min(MOST_WORKERS, torch.get_num_threads())
        plan = prepare(model, out, grid, args.resume, {}, workers=workers)
        if args.model is None:  # its folder is called files
            plan.kick["model"]["name"] = "touchstone"
    except BaseException:  # a world without a grid would be in the way of the next attempt
        if not begun:
            shutil.rmtree(args.out / "world", ignore_errors=True)
        raise
    result = run_shown(plan, args)
    if result is None:
        return INTERRUPTED
    made = analyse(read_grid(out))
    page = write_pages(made, out / "report")["index.html"]
    print(summary(plan, made), flush=True)
    for one in result.failed:
        print(f"{one.id} failed: {one_line(one.error)}")
    print(f"The report is {page}; cupel report {out} makes it again.")
    return FAILED if result.failed else 0


def write_world(out: Path) -> None:
    """Writes the world of the model that comes with cupel to out/world, whole or not at all."""
    from .. import touchstone
    from ..touchstone import world

    if out.exists() and (
        not out.is_dir() or any(one.name != ".world.part" for one in out.iterdir())
    ):
        raise ValueError(
            f"[demo] out must be new, empty, or the folder of a demo with a grid. Got {out}; choose "
            "another folder (--out)."
        )
    print("writing the world", file=sys.stderr, flush=True)
    part = out / ".world.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    world.write_world(part, touchstone.WORLD_SEED)
    part.rename(out / "world")


def summary(plan: Plan, made: Analysis) -> str:
    """Tasks and what their items can show, the verdicts, and what was found."""
    from ..html_report.finding import RULE, finding

    marks = {name: symbols[not can_print(symbols[0])] for name, symbols in MARKS.items()}
    letters = task_letters(made)
    parts = [
        table(*task_table(made, letters)),
        f"Shows: the smallest difference of the score that so many items can show, {RULE}.",
        "",
        table(*verdict_table(made, letters, marks)),
        READING.format(*marks.values()),
        "",
        finding(made),
        "",
        f"{made.grid.name} and {len(made.grid.cells)} models made of it; "
        f"world, records and scores are in {plan.out.parent}.",
    ]
    return "\n".join(
        textwrap.fill(part, 100) if part and "\n" not in part else part for part in parts
    )


def can_print(symbol: str) -> bool:
    """Whether stdout has this character."""
    try:
        symbol.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def task_letters(made: Analysis) -> dict[Any, str]:
    """A short name of each task and perplexity: A, B, ..., Z, A1, ..."""
    from ..html_report.onsets import main_keys

    names = [*made.perplexities, *main_keys(made)]
    return {
        name: chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")
        for i, name in enumerate(names)
    }


def task_table(made: Analysis, letters: dict[Any, str]) -> tuple[list[str], list[list[str]]]:
    """A row a task: its letter, its dense score, and what its items can show."""
    from ..html_report.finding import smallest_difference
    from ..html_report.text import number

    rows = []
    for name, letter in letters.items():
        if isinstance(name, str):
            loss = next(loss for loss in made.losses if loss.task == name)
            texts = [made.label(name), "", f"{loss.blocks:,}", number(loss.dense, 2), ""]
        else:
            row = next(row for row in made.rows if row.key == name and row.headline)
            size = number(smallest_difference(made, name))
            texts = [made.label(name[0]), row.metric, f"{row.items:,}", number(row.dense), size]
        rows.append([f"{letter} {texts[0]}", *texts[1:]])
    return ["task", "value", "items", "dense", "shows"], rows


def verdict_table(
    made: Analysis, letters: dict[Any, str], marks: dict[str, str]
) -> tuple[list[str], list[list[str]]]:
    """A row a model, a column a task."""
    rows = []
    for cell in made.grid.cells:
        texts = [cell.name]
        for name in letters:
            if isinstance(name, str):
                loss = made.loss(cell, name)
                texts.append(times(loss.ratio) if loss else cell.status)
            else:
                row = made.headline(cell, name)
                texts.append(verdict(row, marks) if row else cell.status)
        rows.append(texts)
    return ["model", *letters.values()], rows


def times(ratio: float) -> str:
    """A ratio of perplexities in a few characters."""
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}" if ratio < 10000 else ">9999"


def verdict(row: Row, marks: dict[str, str]) -> str:
    """✓98."""
    from ..html_report.text import known

    kept = f"{100 * row.kept:.0f}" if known(row.kept) else ""
    return f"{marks[row.verdict]}{kept}"
