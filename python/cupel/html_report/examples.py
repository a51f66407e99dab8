"""Answers that changed, with their questions where the task's data are still what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .analysis import Analysis, Row
from .onsets import main_keys
from .parts import Key
from .table import task_name
from .text import visible

MOST = {"right → wrong": 4, "wrong → right": 2}
TEXT = 600  # characters of a question or answer that are shown
ASKED = ("question", "prompt", "context", "text", "turns")  # fields that hold what is asked


@dataclass
class Example:
    """One item whose answer changed."""

    change: str
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
    answers that became wrong."""
    if made.dense is None:
        return []
    found = []
    for key in main_keys(made):
        rows = [row for row in made.rows if row.key == key and row.headline and row.flips]
        rows = [row for row in rows if row.flips.right_to_wrong + row.flips.wrong_to_right]
        if rows:
            broken = [row for row in rows if row.broken]
            row = max(broken or rows, key=lambda r: r.kept if broken else r.flips.right_to_wrong)
            found.append(of_row(made, key, row))
    return found


def of_row(made: Analysis, key: Key, row: Row) -> Examples:
    """Examples of one task under one model."""
    task, protocol = key
    made_ = Examples(task_name(made, key), row.cell.name)
    questions, made_.note = load_questions(made, task)
    before = made.dense.items(task, protocol)
    after = row.cell.scores().items(task, protocol)
    counts = dict.fromkeys(MOST, 0)
    for a, b in zip(before, after, strict=True):
        if row.metric not in a.values or a.values[row.metric] == b.values[row.metric]:
            continue
        change = "right → wrong" if a.values[row.metric] == 1 else "wrong → right"
        counts[change] += 1
        if counts[change] <= MOST[change]:
            asked = questions.get(a.id, ("", ""))
            texts = [visible(t, TEXT) for t in (*asked, a.gold, a.prediction, b.prediction)]
            made_.shown.append(Example(change, visible(a.id, 80), visible(a.category, 80), *texts))
    made_.shown.sort(key=lambda example: list(MOST).index(example.change))
    left = [f"{n - MOST[c]:,} more {c}" for c, n in counts.items() if n > MOST[c]]
    made_.left_out = ", ".join(left)
    return made_


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
        name, _, rest = str(text).partition(":")
        if task not in (name, text):
            continue
        options = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
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
