"""What a score is made of: categories of items, and items out of the ordinary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cupel

NAN = float("nan")
LEAST_ITEMS = 6  # fewer cannot show a change, even if all of them change in one direction

# The value that stands for a task where it has several; else the first by name.
HEADLINES = (
    "accuracy", "exact_match", "exact", "em", "score", "f1", "substring",
    "follows", "facts", "rouge1", "unique_tokens",
)  # fmt: skip

Key = tuple[str, str]  # task, protocol


@dataclass
class Category:
    """A value over the items of one category."""

    dense: float
    compressed: float
    items: int
    noise: bool  # the difference lies within 1.96 standard errors of 0, or they are not known


def flags(scores: cupel.EvalResult) -> dict[Key, dict[str, float]]:
    """Task, protocol -> share of its items with each flag; tasks without flags have an empty one."""
    found: dict[Key, dict[str, float]] = {}
    for task, protocols in scores.metrics.items():
        for protocol, values in protocols.items():
            items = values.get("items")
            if items:
                names = [name for name in values if name.startswith("flag_")]
                shares = {name.removeprefix("flag_"): values[name] / items for name in names}
                found[task, protocol] = shares
    return found


def categories(
    dense: cupel.EvalResult,
    scores: cupel.EvalResult,
    chosen: Callable[[str], str] = lambda task: "",
) -> dict[Key, dict[str, Category]]:
    """The metrics "VALUE/CATEGORY" of both sides, for the value that stands for the task.

    Args:
        chosen: Task -> the value that was chosen for it, or "".
    """
    found: dict[Key, dict[str, Category]] = {}
    for task, protocols in scores.metrics.items():
        for protocol, values in protocols.items():
            before = dense.metrics.get(task, {}).get(protocol, {})
            parts = {name: name.split("/", 1) for name in values if "/" in name and name in before}
            known = {metric for metric, _ in parts.values()} - {"items"}
            if not known:
                continue
            best = (chosen(task), *HEADLINES)
            metric = next((m for m in best if m in known), min(known))
            errors = category_errors(dense, scores, task, protocol, metric)
            found[task, protocol] = {}
            for name, (owner, category) in parts.items():
                if owner != metric:
                    continue
                error = errors.get(category, NAN)
                change = values[name] - before[name]
                found[task, protocol][category] = Category(
                    before[name],
                    values[name],
                    int(values.get(f"items/{category}", 0)),
                    not abs(change) > 1.96 * error,
                )
    return found


def category_errors(
    dense: cupel.EvalResult, scores: cupel.EvalResult, task: str, protocol: str, metric: str
) -> dict[str, float]:
    """Category -> standard error of the mean paired difference, from the items."""
    try:
        left, right = dense.items(task, protocol), scores.items(task, protocol)
    except KeyError:
        return {}
    if [item.id for item in left] != [item.id for item in right]:
        return {}
    changes: dict[str, list[float]] = {}
    for a, b in zip(left, right, strict=True):
        if metric in a.values and metric in b.values:
            changes.setdefault(a.category, []).append(b.values[metric] - a.values[metric])
    errors = {}
    for category, values in changes.items():
        n, mean = len(values), sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values)
        errors[category] = math.sqrt(spread / (n - 1) / n) if n >= LEAST_ITEMS else NAN
    return errors
