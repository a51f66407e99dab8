"""The paragraphs at the head of the report, made from its numbers."""

from __future__ import annotations

import math
from collections import Counter

from .analysis import Analysis, Row
from .onsets import Series, all_series, main_keys
from .text import known, listed, many, number, percent, ratio

Paragraph = tuple[str, str]  # heading, sentences

MOST_TASKS = 6  # that have a sentence each; the table of levels has all of them

HOW = {"sparsity": "Pruning", "bits": "Quantizing"}


def paragraphs(made: Analysis) -> list[Paragraph]:
    """What was compared, what breaks first, what perplexity shows and how certain that is."""
    series = all_series(made)
    rows = [row for row in made.rows if row.headline and row.key in main_keys(made)]
    rows = [row for row in rows if row.cell.kind != "model"]  # another model broke nothing
    found = [("What was compared", compared(made))]
    if made.dense is None and not made.rows and not made.losses:
        return [*found, ("What broke", "Nothing can be said of it: there are no dense scores.")]
    if not made.grid.cells:
        return found
    found.append(("What breaks first" if series else "What broke", breaks(made, series, rows)))
    found.append(("What perplexity shows", perplexity(made, series)))
    found.append(("How certain this is", certainty(rows)))
    return [entry for entry in found if entry[1]]


def compared(made: Analysis) -> str:
    """The size of it, and what is missing."""
    grid = made.grid
    own = [cell for cell in grid.cells if cell.kind != "model"]
    done = [cell for cell in own if cell.done]
    tasks = [f"{made.label(key[0])} ({made.headlines[key]})" for key in main_keys(made)]
    tasks += map(made.label, made.perplexities)
    if not grid.cells:
        return f"The scores of {grid.name} alone: there is no other model to compare it with."
    if grid.kick:
        models = many(len(done), "compressed model")
        methods = list(dict.fromkeys(cell.method for cell in own))
        text = f"{models} of {grid.name} ({listed(methods)})"
        text += "".join(f" and {cell.name}" for cell in grid.cells if cell not in own and cell.done)
    else:
        text = grid.name
    text += " against the dense model"
    if tasks:
        text += f" on {listed(tasks)}"
    text += ", item by item." if any(row.items for row in made.rows) else "."
    lost = Counter(cell.status for cell in grid.cells if not cell.done)
    for status, count in lost.items():
        text += f" {many(count, 'more model')} {status_words(status, count)}."
    return text


def status_words(status: str, count: int) -> str:
    """failed, could not be read, has not run."""
    if status == "not run":
        return "has not run" if count == 1 else "have not run"
    return "could not be read" if status == "unreadable" else "failed"


def breaks(made: Analysis, series: list[Series], rows: list[Row]) -> str:
    """Which tasks break, at which level, by which method."""
    if not rows:
        return "No task with items was compared, so nothing can be said of tasks."
    if all(math.isnan(row.p) for row in rows):
        point = sum(not row.point for row in rows)
        return (
            f"No item was scored by both models, so no loss can be told from chance. By the two "
            f"scores alone {point} of {len(rows)} are below 95 % of the dense score."
        )
    sentences = []
    for kind, how in HOW.items():
        part = [one for one in series if one.kind == kind]
        sentences += ordered(part, how)
    sentences += [patterns([one for one in series if one.kind == "pattern"])]
    sentences += [single(made, rows)]
    if not any(row.broken for row in rows):
        worse = sum(row.worse for row in rows)
        cells = len({id(row.cell) for row in rows})
        text = (
            f"No task is broken in any of {many(cells, 'model')}: no score is both significantly "
        )
        text += "lower and below 95 % of the dense one."
        if worse:
            text += f" {many(worse, 'significant loss', 'significant losses')} stay above 95 %."
        return text
    return " ".join(sentence for sentence in sentences if sentence)


def ordered(series: list[Series], how: str) -> list[str]:
    """Sentences on levels that have an order: who breaks first, then each task."""
    broken = [one for one in series if one.broken]
    if not series:
        return []
    if not broken:
        return [f"{how} breaks no task at any level evaluated (up to {series[0].strongest})."]
    first = min(one.broken.place for one in broken)
    tasks = list(dict.fromkeys(one.task for one in series))
    early = {task: [] for task in tasks}
    for one in broken:
        if one.broken.place == first:
            early[one.task].append(one.method)
    early = {task: methods for task, methods in early.items() if methods}
    level = next(one.broken.level for one in broken if one.broken.place == first)
    every = list(dict.fromkeys(one.method for one in series))
    who = listed(list(early)) if len(early) <= MOST_TASKS else f"{len(early)} of {len(tasks)} tasks"
    if len(early) == len(tasks) > 1:
        who = "both tasks" if len(tasks) == 2 else f"all {len(tasks)} tasks"
    used = list(dict.fromkeys(method for methods in early.values() for method in methods))
    by = "with every method" if used == every and len(every) > 1 else f"with {listed(used)}"
    sentences = [
        f"{how} breaks {who} {'' if len(tasks) in (1, len(early)) else 'first, '}at {level} {by}."
    ]
    if len(tasks) > MOST_TASKS:
        whole = len(tasks) - len({one.task for one in broken})
        if whole:
            sentences.append(
                f"{whole} of the {len(tasks)} tasks {'is' if whole == 1 else 'are'} not broken at any "
                f"level (up to {series[0].strongest})."
            )
        return sentences
    for task in tasks:
        own = [one for one in series if one.task == task]
        if len(early.get(task, [])) == len(own):
            continue  # the first sentence said it all
        levels: dict[str, list[str]] = {}
        for one in sorted(own, key=lambda one: one.broken.place):
            levels.setdefault(one.broken.level, []).append(one.method)
        whole = levels.pop("", [])
        if not levels:
            sentences.append(f"{task} is not broken at any level (up to {own[0].strongest}).")
        elif not whole and len(levels) == 1 and len(own) > 1:
            sentences.append(f"{task} is broken from {next(iter(levels))} with every method.")
        else:
            parts = [f"{level} with {listed(methods)}" for level, methods in levels.items()]
            text = f"{task} is broken from {listed(parts)}"
            sentences.append(text + (f"; with {listed(whole)} at no level." if whole else "."))
    return sentences


def patterns(series: list[Series]) -> str:
    """One sentence on n:m patterns."""
    if not series:
        return ""
    found: dict[tuple[str, str], list[str]] = {}
    for one in series:
        if one.broken:
            found.setdefault((one.task, one.broken.levels), []).append(one.method)
    if not found:
        return "No n:m pattern breaks a task."
    tasks = dict.fromkeys(one.task for one in series)
    if len(tasks) > MOST_TASKS:
        hit = len({task for task, _ in found})
        return f"n:m patterns break {hit} of {len(tasks)} tasks with one method at least."
    parts = [f"{task} at {levels} with {listed(m)}" for (task, levels), m in found.items()]
    return f"n:m patterns break {'; '.join(parts)}."


def single(made: Analysis, rows: list[Row]) -> str:
    """One sentence on a comparison without levels."""
    own = [row for row in rows if row.cell.kind == "single"]
    names = [
        f"{made.label(row.task)} ({percent(row.kept)} of the dense score)"
        for row in own
        if row.broken
    ]
    return f"Broken: {listed(names)}." if names else ""


def perplexity(made: Analysis, series: list[Series]) -> str:
    """Whether perplexity shows what the tasks lose."""
    if not made.losses:
        return "No perplexity was measured."
    pairs = [one for one in series if one.first]
    if len(made.losses) == 1:
        (loss,) = made.losses
        text = f"It is {ratio(loss.ratio)} times the dense one"
        if known(loss.ratio_low):
            text += f" (95 % interval: {ratio(loss.ratio_low)} to {ratio(loss.ratio_high)})"
        return text + "."
    if not pairs:
        flat = sum(not loss.steep for loss in made.losses)
        risen = sum(loss.rises for loss in made.losses)
        return (
            f"It is up by less than 5 % in {flat} of {many(len(made.losses), 'comparison')}; its paired "
            f"interval shows a rise in {risen}."
        )
    count = Counter(one.first for one in pairs)
    n = len(pairs)
    text = f"Of {many(n, 'pair')} of a method and a task, "
    words = {
        "task": "the task was broken while perplexity was still less than 5 % up in {}",
        "perplexity": "perplexity was 5 % up while the task was not yet broken in {}",
        "together": "both came at the same level in {}",
        "neither": "neither happened in {}",
    }
    text += listed([words[key].format(count[key]) for key in words if count[key]]) + "."
    broken = [one for one in pairs if one.broken]
    if broken:
        warned = sum(one.warned for one in broken)
        text += (
            f" Its paired interval, which sees smaller rises than 5 %, had left 1 by the level that "
            f"broke the task in {warned} of {len(broken)}."
        )
    if count["task"] > count["perplexity"] + count["together"]:
        text += " Here a flat perplexity does not mean that nothing is lost."
    elif count["perplexity"] > count["task"] + count["together"]:
        text += " Here perplexity warns before the tasks do."
    return text


def certainty(rows: list[Row]) -> str:
    """Verdicts, and what would go unseen."""
    verdicts = Counter(row.verdict for row in rows if row.verdict)
    total = sum(verdicts.values())
    if not total:
        return ""
    if not any(row.items for row in rows):
        return "No verdict can be given: these scores came without the items behind them."
    text = (
        f"Verdicts at 95 % confidence: {verdicts['matching']} matching (95 % of the dense score is "
        f"kept), {verdicts['not matching']} not matching, {verdicts['undecided']} undecided."
    )
    zero = sum(row.dense == 0 for row in rows)
    if zero:
        text += f" {zero} have none, since the dense model scored 0."
    single = sum(row.verdict == "not matching" and not row.broken for row in rows)
    if single:
        text += (
            f" Of those not matching, {single} {'is' if single == 1 else 'are'} not called broken: "
            "each verdict stands alone, and among so many tests some would come by chance."
        )
    sizes = [row.detectable for row in rows if math.isfinite(row.detectable)]
    items = sorted({row.items for row in rows if row.items})
    if sizes and items:
        span = f"{items[0]:,}" if len(items) == 1 else f"{items[0]:,} to {items[-1]:,}"
        low, high = number(min(sizes), 3), number(max(sizes), 3)
        size = low if low == high else f"{low} to {high}, by task and model,"
        text += (
            f" With {span} items a task, a change of score smaller than {size} would be missed more "
            "than one time in five."
        )
    if 2 * verdicts["undecided"] > total:
        text += " Most verdicts are open: more items are needed to close them."
    return text


def caveats(made: Analysis) -> list[str]:
    """What did not go as planned, and other notes: each with the models that it is about."""
    found: dict[str, list[str]] = {}
    for cell in made.grid.cells:
        notes = [] if cell.done else [f"{cell.status}: {cell.why}"]
        for note in dict.fromkeys([*notes, *cell.notes, *made.problems.get(cell.id, [])]):
            found.setdefault(note, []).append(cell.name)
    return [f"{listed(few(names))}: {note}" for note, names in found.items()]


def few(names: list[str]) -> list[str]:
    """The first ones of many."""
    return names if len(names) <= 5 else [*names[:4], f"{len(names) - 4} more models"]
