"""What the tasks of a grid are called, and which of their values stands for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .options import TaskText, task_options

if TYPE_CHECKING:
    import cupel


def shown_entry(tasks: Iterable[str]) -> dict[str, dict[str, str]]:
    """The part "shown" of kick.json: task text -> its label and its value, where it has them."""
    return {
        str(text): {name: getattr(text, name) for name in ("label", "value") if getattr(text, name)}
        for text in tasks
        if isinstance(text, TaskText)
    }


class Shown:
    """Labels and values of tasks, by the names that results give them.

    Args:
        kick: What kick.json holds; what is no label there is none here.
    """

    def __init__(self, kick: Mapping[str, Any]):
        texts = [str(text) for text in kick.get("tasks") or []]
        uses = Counter(task_options(text)[0] for text in texts)

        def name(text: str) -> str:  # results call a task that stands once by its word
            word = task_options(text)[0]
            return word if uses[word] == 1 else text

        self._order = [name(text) for text in texts]
        self._of: dict[str, Mapping[str, Any]] = {}
        shown = kick.get("shown")
        for text, entry in shown.items() if isinstance(shown, Mapping) else ():
            if isinstance(entry, Mapping):
                self._of[name(text)] = entry

    def place(self, task: str) -> int:
        """Where a task stands in the grid; behind all others where it does not."""
        return self._order.index(task) if task in self._order else len(self._order)

    def label(self, task: str) -> str:
        """What tables call a task: its label, else its own name."""
        return str(self._of.get(task, {}).get("label") or task)

    def labelled(self, task: str) -> bool:
        """Whether a task has a label."""
        return self.label(task) != task

    def value(self, task: str) -> str:
        """The metric that was chosen for a task; "" where none was."""
        return str(self._of.get(task, {}).get("value") or "")

    def check(self, scores: cupel.EvalResult) -> None:
        """Refuses a value that a task does not have.

        Raises:
            ValueError: With those that it has.
        """
        for task in scores.manifests:
            chosen = self.value(task)
            if not chosen:
                continue
            known = ["perplexity"]
            if task not in scores.perplexities:
                protocols = scores.manifests[task].protocols
                items = (item for one in protocols for item in scores.items(task, one))
                known = sorted({name for item in items for name in item.values})
            if chosen not in known:
                raise ValueError(
                    f"[kick] `value` names a value of its task; {self.label(task)} has "
                    f"{', '.join(known)}. Got {chosen}."
                )
