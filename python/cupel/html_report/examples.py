"""Answers that changed, with their questions where the task's data are still what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._kick.options import task_options
from .analysis import Analysis, Row
from .judged import answers, judged_task
from .onsets import main_keys
from .parts import Key
from .table import task_name
from .text import visible

RIGHT, WRONG = "right → wrong", "wrong → right"
MOST = {RIGHT: 4, WRONG: 2}
LARGEST = (4, 2)  # of values that are not 0 or 1: the largest falls, and the largest rises
TEXT = 600  # characters of a question or answer that are shown
ASKED = ("question", "prompt", "context", "text", "turns")  # fields that hold what is asked


@dataclass
class Example:
    """One item whose answer changed."""

    change: str
    worse: bool
    id: str
    category: str
    question: str  # "" where it is not at hand
    choices: str
    gold: str
    dense: str
    compressed: str


@dataclass
class Examples:
    """Those of one task."""

    title: str
    model: str
    shown: list[Example] = field(default_factory=list)
    left_out: str = ""
    note: str = ""  # why there are no questions


def examples(made: Analysis) -> list[Examples]:
    """A few for each task, from the mildest model that breaks it, else from the one with the most
    answers that became wrong or the largest loss."""
    if made.dense is None:
        return []
    found = []
    for key in main_keys(made):
        rows = [row for row in made.rows if row.key == key and row.headline and changed(row)]
        if rows:
            broken = [row for row in rows if row.broken]
            row = max(broken, key=lambda r: r.kept) if broken else max(rows, key=loss)
            found.append(of_row(made, key, row))
    return found


def changed(row: Row) -> bool:
    """Whether there is an item to show."""
    if row.flips is None:
        return row.items > 0 and row.difference != 0
    return row.flips.right_to_wrong + row.flips.wrong_to_right > 0


def loss(row: Row) -> float:
    """Answers that became wrong, or what the mean lost."""
    return -row.difference if row.flips is None else row.flips.right_to_wrong


def of_row(made: Analysis, key: Key, row: Row) -> Examples:
    """Examples of one task under one model."""
    made_ = Examples(task_name(made, key), row.cell.name)
    name, protocol = key
    task = judged_task(name)
    if task is None:
        task = name
        before, after = made.dense, row.cell.scores()
        texts = [{item.id: item for item in side.items(task, protocol)} for side in (before, after)]
    else:
        before, after = made.judged["dense"][protocol], made.judged[row.cell.id][protocol]
        texts = answers(made, row.cell, key)
    questions, made_.note = load_questions(made, task)
    pairs = zip(before.items(task, protocol), after.items(task, protocol), strict=True)
    chosen, made_.left_out = choose(row, list(pairs))
    for change, worse, item in chosen:
        asked = questions.get(item.id, ("", ""))
        dense, compressed = (side[item.id] for side in texts)
        shown = (*asked, dense.gold, dense.prediction, compressed.prediction)
        head = (visible(item.id, 80), visible(item.category, 80))
        made_.shown.append(Example(change, worse, *head, *(visible(t, TEXT) for t in shown)))
    return made_


def choose(row: Row, pairs: list[tuple[Any, Any]]) -> tuple[list[tuple[str, bool, Any]], str]:
    """What is shown, as change, whether for the worse, and item; and what is not, in words."""
    both = [(a.values.get(row.metric), b.values.get(row.metric), a) for a, b in pairs]
    both = [(x, y, item) for x, y, item in both if x is not None and y is not None and x != y]
    if row.flips is None:
        falls = sorted((one for one in both if one[1] < one[0]), key=lambda one: one[1] - one[0])
        rises = sorted((one for one in both if one[1] > one[0]), key=lambda one: one[0] - one[1])
        kinds = ((falls, "fell", LARGEST[0]), (rises, "rose", LARGEST[1]))
    else:
        kinds = tuple(
            ([one for one in both if (one[0] == 1) == (change == RIGHT)], change, most)
            for change, most in MOST.items()
        )
    shown, left = [], []
    for found, word, most in kinds:
        for x, y, item in found[:most]:
            text = word if row.flips is not None else f"{row.metric} {x:.4g} → {y:.4g}"
            shown.append((text, y < x, item))
        if len(found) > most:
            how = word if row.flips is not None else f"that {word}"
            left.append(f"{len(found) - most:,} more {how}")
    return shown, ", ".join(left)


def load_questions(made: Analysis, task: str) -> tuple[dict[str, tuple[str, str]], str]:
    """Item -> question and choices from the task's own data, or why they are not shown."""
    import cupel

    manifest = made.dense.manifests.get(task)
    path, options = data_path(made, task)
    if manifest is None or path is None:
        return {}, "The folder does not say where the questions are."
    try:
        if cupel.data_sha256(path) != manifest.data_sha256:
            return (
                {},
                f"{path.name} is no longer the file that was evaluated, so questions are left out.",
            )
        loader = cupel.make_task(manifest.task)
        items = loader.load(path, manifest.options)
    except (ValueError, OSError, ArithmeticError) as error:
        return {}, f"The questions could not be read: {visible(error, 200)}"
    except Exception as error:  # a task of the user's own may raise anything
        return {}, f"The questions could not be read: {type(error).__name__}: {visible(error, 200)}"
    found = {}
    for number, item in enumerate(items):
        fields = fields_of(item)
        name = fields.get("id") or getattr(item, "id", None)
        found[str(number if name is None else name)] = question_text(fields)
    return found, ""


def data_path(made: Analysis, task: str) -> tuple[Path | None, dict[str, str]]:
    """Where kick.json says that a task's data are, and the options in its text."""
    import cupel

    kick = made.grid.kick
    for text in kick.get("tasks", []):
        name, options = task_options(str(text))
        if task not in (name, text):
            continue
        if options.get("file"):
            return Path(options["file"]), options
        if kick.get("data") and name in cupel.tasks():
            below = cupel.task_info(name).data
            return (Path(kick["data"]) / below if below else None), options
    return None, {}


def fields_of(item: Any) -> Mapping[str, Any]:
    """What an item holds, be it a TaskItem, a dict or an object."""
    if isinstance(item, Mapping):
        return item
    return item.fields if hasattr(item, "fields") else vars(item)


def question_text(fields: Mapping[str, Any]) -> tuple[str, str]:
    """What was asked, and the choices where there are some."""
    asked = next((fields[name] for name in ASKED if fields.get(name)), "")
    question = asked if isinstance(asked, str) else "\n".join(str(part) for part in asked)
    choices = fields.get("choices") or []
    return question, "  ".join(f"({number}) {choice}" for number, choice in enumerate(choices))
