"""`cupel kick`: a grid of methods, levels and seeds, each scored against the dense model."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import whole_number
from .display import bytes_text, pairs, table
from .errors import FAILED, INTERRUPTED, UsageError, one_line
from .evaluate import tasks

if TYPE_CHECKING:
    from .._kick.result import KickResult
    from .._kick.runner import Plan

EXAMPLES = """examples:
  cupel kick MODEL --methods magnitude,wanda,sparsegpt --sparsity 0.3,0.5 --patterns 2:4 \\
      --quantizers rtn,gptq --bits 4,3 --group 64 --seeds 0,1 --calibration c4.jsonl \\
      --tasks perplexity,multiple_choice:file=questions.jsonl --text wiki.test.raw --out grid
  cupel kick MODEL --config grid.yaml --limit 100 --out grid-100
  cupel kick MODEL --config grid.yaml --limit 100 --out grid-100 --resume

A grid that ended at any moment goes on with --resume. --config names a YAML file; its keys are the
flags with _ for -, and its paths are relative to it. Flags override it."""


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "kick",
        help="run a grid of methods and levels over tasks",
        description="Compresses a model in every way of a grid, scores each and the dense model on the\n"
        "same tasks, and compares them item by item. Lists stand between commas.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # so that only flags that were given override the file
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="Hugging Face model folder (safetensors)"
    )
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="folder to write")
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="grid in YAML")
    parser.add_argument(
        "--resume", action="store_true", default=False, help="go on with the grid that --out holds"
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        default=False,
        help="print the whole grid as YAML, and run nothing",
    )
    add_workers(parser, 1)
    add_options(parser)


def add_workers(parser: argparse.ArgumentParser, default: int | None) -> None:
    """--workers."""
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=default,
        metavar="N",
        help="processes that run models side by side, each with its share of the threads: faster for "
        f"small models (default: {default or 'a thread each, at most 8'})",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of KickGrid."""
    from .._kick.grid import FIELDS

    groups: dict[str, Any] = {}
    for name, field in FIELDS.items():
        about = field.metadata
        if about["group"] not in groups:
            groups[about["group"]] = parser.add_argument_group(about["group"])
        more: dict[str, Any] = {"help": about["help"]}
        if isinstance(field.default, bool):
            more["action"] = argparse.BooleanOptionalAction
        elif about.get("words"):
            more |= {"nargs": "+", "metavar": "PAT"}
        elif name == "tasks":
            more |= {
                "type": tasks,
                "metavar": "TASK",
                "action": "extend",
            }  # may stand several times
        else:
            many = field.default is dataclasses.MISSING  # lists are made
            more |= {"type": reader(about["read"], many), "metavar": metavar(name, about)}
        groups[about["group"]].add_argument(f"--{name.replace('_', '-')}", **more)


def metavar(name: str, about: Any) -> str:
    """What stands for a value in --help."""
    if hasattr(about["read"], "choices"):
        return "{" + ",".join(about["read"].choices) + "}"
    return "PATH" if about.get("path") else name.upper()


def reader(read: Callable[[Any], Any], many: bool) -> Callable[[str], Any]:
    """An argparse type from a reader of KickGrid's."""

    def typed(text: str) -> Any:
        try:
            return read(text.split(",") if many else text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    from .._kick.config import make_grid
    from .._kick.grid import FIELDS
    from .._kick.runner import prepare

    options = {name: getattr(args, name) for name in FIELDS if hasattr(args, name)}
    grid = usage(lambda: make_grid(args.config, options))
    if args.print_config:
        print(grid.to_yaml(), end="")
        return 0
    if args.out is None:
        raise UsageError("the grid needs a folder to write: add --out DIR.")
    usage(grid.cells)
    plan = prepare(args.model, args.out, grid, args.resume, {}, workers=args.workers)
    result = run_shown(plan, args)
    if result is None:
        return INTERRUPTED
    print(summary(plan, result), flush=True)
    print(make_pages(plan.out))
    return FAILED if result.failed else 0


def run_shown(plan: Plan, args: argparse.Namespace) -> KickResult | None:
    """Runs a grid and shows it at work; None when it was interrupted."""
    from .._kick.runner import run as run_plan
    from .kick_display import GridDisplay

    print(announcement(plan), file=sys.stderr, flush=True)
    try:
        with GridDisplay(plan.left) as display:
            return run_plan(plan, display, None)
    except KeyboardInterrupt:
        again = "the same command" if args.resume else "the same command and --resume"
        print(
            f"cupel: interrupted; {args.out} holds what was done, and {again} goes on from there.",
            file=sys.stderr,
        )
        return None


def usage(make: Callable[[], Any]) -> Any:
    """What `make` returns; a grid that makes no sense is a mistake in the command."""
    try:
        return make()
    except ValueError as error:
        if type(error) is not ValueError:  # FormatError: the file's
            raise
        raise UsageError(one_line(error).removeprefix("[KickGrid] ")) from None


def announcement(plan: Plan) -> str:
    """What is going to run, and the disk it takes."""
    seeds = f"seeds {', '.join(map(str, plan.grid.seeds))}"
    if len(plan.grid.samples) > 1:
        seeds = f"{', '.join(map(str, plan.grid.samples))} windows; {seeds}"
    ways: dict[str, list[str]] = {}
    seeded: dict[str, bool] = {}
    for cell in plan.cells:
        level = cell.label.removeprefix(f"{cell.method} ").removesuffix(f", {cell.samples} windows")
        levels = ways.setdefault(cell.method, [])
        if level not in levels:
            levels.append(level)
        seeded[cell.method] = seeded.get(cell.method, False) or cell.seeded
    rows = [("model", str(plan.model))]
    for method, levels in ways.items():
        drawn = seeds if seeded[method] else "once, whatever the seeds: it needs no text"
        if plan.other and method == plan.other.name:
            drawn = f"as it is, {plan.other.parameters:,} parameters"
        rows.append((method, f"{', '.join(levels)}; {drawn}"))
    if plan.other and plan.other.sparsity is not None:
        one = plan.other
        parity = f"{one.sparsity:.4%} of {one.linear_weights:,} linear weights leave {one.parameters:,} of"
        rows.append(("parity", f"{parity} {one.large_parameters:,} parameters"))
    names = [getattr(text, "label", "") or text for text in plan.grid.tasks]
    rows.append(("tasks", ", ".join(names)))
    total = len(plan.cells) + 1
    models = f"{plan.left} of {total} models"
    if plan.left > plan.kept:
        models += ", the dense one first"
    if plan.left < total:
        models += "; the others are done"
    rows.append(("to run", models))
    taken = f"about {bytes_text(plan.disk.records)} of records"
    if plan.disk.models:
        taken += f", {bytes_text(plan.disk.models)} of models"
    rows.append(("disk", f"{taken}; {bytes_text(plan.disk.free)} free"))
    return pairs(rows)


def summary(plan: Plan, result: KickResult) -> str:
    """The final table, what failed, and where things are."""
    lines = [table(*result.table())]
    lines.append(
        "In brackets: perplexity as a multiple of the dense model's (x), other values' difference from "
        "it. Intervals and tests: comparison.json in each cell."
    )
    once = sorted({cell.method for cell in plan.cells if not (cell.seeded or cell.kind == "model")})
    if once and len(plan.grid.seeds) * len(plan.grid.samples) > 1:
        axes = [("number of windows", plan.grid.samples), ("seed", plan.grid.seeds)]
        each = " and ".join(name for name, values in axes if len(values) > 1)
        lines.append(f"Ran once, not once a {each}, since they draw no text: {', '.join(once)}.")
    for one in result.dense, *result.cells:
        lines += [f"{one.id}: {note}" for note in one.info.get("notes", [])]
    lines += [f"{one.id} failed: {one_line(one.error)}" for one in result.failed]
    if result.failed:
        lines.append(f"Cells that failed: {len(result.failed)}; --resume runs them again.")
    lines.append(f"Written to {plan.out}: kick.json, dense, cells.")
    return "\n".join(lines)


def make_pages(out: Path) -> str:
    """The report of a grid, and what to say of it.

    The one place where the grid knows of the report: it is made if the package has one.
    """
    try:
        from ..html_report import write_html_report
    except ImportError:
        return f"cupel report {out} makes a page of it."
    page = write_html_report(out)["index.html"]
    return f"Its page is {page}; cupel report {out} makes it again."
