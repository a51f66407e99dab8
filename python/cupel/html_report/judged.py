"""Grades of a judge: a second pass over a model's answers, in judged/MODE below its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .parts import Key, categories, flags
from .table import Table, value
from .text import number

if TYPE_CHECKING:
    import cupel

    from .._kick.labels import Shown
    from .analysis import Analysis
    from .grid import Cell

SUFFIX = ", judged"  # behind a task's name: its grades are a task of their own in every table


def judged_name(task: str) -> str:
    """What a task is called where its grades are meant."""
    return task + SUFFIX


def judged_task(name: str) -> str | None:
    """The task whose grades these are; None for what is no judge's."""
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else None


def judged_label(shown: Shown, name: str) -> str:
    """What tables call a task or its grades."""
    task = judged_task(name)
    return shown.label(name) if task is None else judged_name(shown.label(task))


def read_judged(folder: Path) -> tuple[dict[str, cupel.EvalResult], list[str]]:
    """Mode -> scores of a model's folder, and what could not be used."""
    import cupel

    found, problems = {}, []
    for path in sorted(folder.glob("judged/*/judge.json")):
        scores = path.parent / "scores.json"
        mode = path.parent.name
        try:
            found[mode] = cupel.EvalResult.from_json(scores.read_text("utf-8"), str(scores))
        except FileNotFoundError:
            problems.append(f"The judge's pass {mode} lacks replies, so it has no scores yet.")
        except (ValueError, OSError) as error:
            problems.append(f"Grades that cannot be read: {error}")
    return found, problems


def add_judged(made: Analysis, cell: Cell, problems: list[str]) -> None:
    """Takes what a judge said of a model's answers; beside the dense ones where these have grades."""
    judged, missing = read_judged(cell.folder)
    made.judged[cell.id] = judged
    problems += missing
    for mode, scores in judged.items():
        for (task, protocol), shares in flags(scores).items():
            made.flags.setdefault(cell.id, {})[judged_name(task), protocol] = shares
        before = made.judged.get("dense", {}).get(mode)
        if made.dense is None or cell is made.grid.dense or mode == "pairwise":
            continue
        if before is None:
            problems.append(f"The dense model's answers have no grades of the mode {mode}.")
            continue
        add_pairs(made, cell, before, scores, problems)


def add_pairs(
    made: Analysis,
    cell: Cell,
    dense: cupel.EvalResult,
    scores: cupel.EvalResult,
    problems: list[str],
) -> None:
    """Rows and categories of one mode, each task under its judged name."""
    import cupel

    from . import analysis

    try:
        pairs = cupel.compare(dense, scores, matching=analysis.MATCHING, level=analysis.LEVEL)
    except ValueError as error:  # another judge, other prompts
        problems.append(f"Grades were not compared: {error}")
        return
    analysis.add_pairs(made, cell, pairs, judged_name)
    problems += pairs.notes
    found = categories(dense, scores)
    mine = made.categories.setdefault(cell.id, {})
    mine |= {(judged_name(task), mode): one for (task, mode), one in found.items()}


def judge_table(made: Analysis) -> Table:
    """Every mean of a judge, with its bounds and both of its errors."""
    table = Table(
        [
            "model", "task", "mode", "value", "mean", "if the unparsed were lowest", "if highest",
            "item error", "judge error", "replies", "unparsed", "order changed it", "judge",
        ]
    )  # fmt: skip
    for cell in [*([made.grid.dense] if made.grid.dense else []), *made.grid.cells]:
        for mode, scores in made.judged.get(cell.id, {}).items():
            for task, protocols in scores.metrics.items():
                who = scores.manifests[task].options
                judge = f"{who.get('judge.name', '')} {who.get('judge.model', '')}".strip()
                for metrics in protocols.values():
                    for low in (name for name in metrics if name.endswith("_low")):
                        name = low.removesuffix("_low")
                        ends = ("", "_low", "_high", "_item_error", "_judge_error")
                        values = [metrics.get(name + end) for end in ends]
                        pairs, changed = metrics.get("pairs"), metrics.get("pairs_inconsistent", 0)
                        counts = [metrics["replies"], metrics["replies_unparsed"]]
                        table.add(
                            cell.name,
                            made.label(task),
                            mode,
                            name,
                            *(value(v, number(v, 3)) for v in values),
                            *(value(v, f"{v:,.0f}") for v in counts),
                            f"{changed:,.0f} of {pairs:,.0f} pairs" if pairs else number(None),
                            judge[:60],
                        )
    return table


def answers(
    made: Analysis, cell: Cell, key: Key
) -> tuple[dict[str, cupel.ItemScore], dict[str, cupel.ItemScore]]:
    """Item -> what the dense model and the cell answered, of a judged task."""
    name, mode = key
    task = judged_task(name)
    dense = made.judged["dense"][mode]
    protocol = dense.manifests[task].options["judge.protocol"]
    before = made.dense.items(task, protocol)
    after = cell.scores().items(task, protocol)
    return {item.id: item for item in before}, {item.id: item for item in after}
