"""One paragraph in plain words on what a grid found; each of its sentences is counted from the numbers."""

from __future__ import annotations

import math
from statistics import median

from .analysis import FLAT, Analysis, Row
from .grid import Cell, level_text
from .onsets import Series, all_series, main_keys
from .parts import LEAST_ITEMS, Key
from .text import known, listed, many, number, percent, ratio
from .words import Paragraph, paragraphs

POWER = 2.8  # standard errors: 1.96 for p < 0.05 and 0.84 to find it four times out of five
RULE = (
    f"{POWER} paired standard errors, which a test at 5 % finds four times out of five, and for right "
    f"or wrong answers at least {LEAST_ITEMS} of them; the middle one over the models"
)
CHANCE = {"mmlu": 0.25}  # of tasks whose items all have as many choices
BROKEN = "significantly lower, and below 95 % of the dense score"
PRUNED = {"sparsity": "Pruning", "bits": "Quantizing"}


def head(made: Analysis) -> list[Paragraph]:
    """The paragraphs at the head of the report."""
    short = finding(made)
    return [("In short", short), *paragraphs(made)] if short else paragraphs(made)


def smallest_difference(made: Analysis, key: Key) -> float:
    """The smallest difference of a task's score that its items can show; NaN where none is known.

    RULE says how: it follows from how many answers changed, so each model has its own.
    """
    found = []
    for row in made.rows:
        if row.key != key or not row.headline or not row.items:
            continue
        least = LEAST_ITEMS / row.items if row.flips is not None else 0.0
        size = max(POWER * row.standard_error if known(row.standard_error) else 0.0, least)
        found += [size] if size > 0 else []
    return median(found) if found else math.nan


def finding(made: Analysis) -> str:
    """The paragraph; "" for what is no grid or has no model to speak of."""
    own = [cell for cell in made.grid.cells if cell.kind != "model"]
    cells = [cell for cell in own if cell.done and scored(made, cell)]
    if not made.grid.kick or not cells:
        return ""
    keys, nothing_to_lose = usable(made)
    sentences = [*hidden(made, cells, keys), *fragile(made, cells, keys), *levels(made, keys)]
    sentences += [nothing_to_lose, certain(made, cells, keys), left_out(own, cells)]
    return " ".join(sentence for sentence in sentences if sentence)


def scored(made: Analysis, cell: Cell) -> bool:
    """Whether there is anything to say of a model."""
    return bool(made.of(cell)) or any(made.loss(cell, task) for task in made.perplexities)


def usable(made: Analysis) -> tuple[list[Key], str]:
    """Tasks that the dense model can do, and a sentence on the others."""
    keys, guessed, unsolved = [], [], []
    for key in main_keys(made):
        row = next(row for row in made.rows if row.key == key and row.headline)
        if row.dense <= 0:
            unsolved.append(made.label(key[0]))
        elif guesses(made, row):
            guessed.append(made.label(key[0]))
        else:
            keys.append(key)
    parts = []
    if guessed:
        parts.append(f"does no better than guessing on {listed(guessed)}")
    if unsolved:
        parts.append(f"scores nothing on {listed(unsolved)}")
    if not parts:
        return keys, ""
    return keys, f"The dense model {' and '.join(parts)}, so nothing can be lost there."


def guesses(made: Analysis, row: Row) -> bool:
    """Whether the dense score may be that of chance, where chance is known."""
    import cupel

    manifest = made.dense.manifests.get(row.task) if made.dense is not None else None
    chance = CHANCE.get(manifest.task, 0.0) if manifest is not None else 0.0
    if not chance or row.flips is None:
        return False
    return cupel.wilson(round(row.dense * row.items), row.items).low <= chance


def broken(made: Analysis, cell: Cell, keys: list[Key]) -> list[Row]:
    """Tasks that a model has lost."""
    rows = (made.headline(cell, key) for key in keys)
    return [row for row in rows if row is not None and row.broken]


def hidden(made: Analysis, cells: list[Cell], keys: list[Key]) -> list[str]:
    """What each perplexity hides, and what it shows that the tasks do not."""
    rows = [row for cell in cells for row in made.of(cell) if row.headline and row.key in keys]
    if not rows:
        lost = "No task with items can tell what was lost."
    elif all(math.isnan(row.p) for row in rows):
        return ["No item was scored by both models, so no loss can be told from chance."]
    elif any(row.broken for row in rows):
        lost = ""
    else:
        lost = f"No task is broken ({BROKEN}) in any of {many(len(cells), 'model')}."
        worse = sum(row.worse for row in rows)
        if worse:
            lost += f" {many(worse, 'significant loss', 'significant losses')} "
            lost += f"{'stays' if worse == 1 else 'stay'} above 95 %."
    found = [lost]
    for number_, task in enumerate(made.perplexities):
        found.append(of_perplexity(made, cells, keys, task, number_ == 0 and not lost))
    if not made.perplexities:
        found.append("No perplexity was measured.")
        if not lost:
            hurt = sum(bool(broken(made, cell, keys)) for cell in cells)
            text = f"A task is broken ({BROKEN}) in {hurt} of {many(len(cells), 'model')}."
            found.append(text)
    return found


def of_perplexity(
    made: Analysis, cells: list[Cell], keys: list[Key], task: str, explain: bool
) -> str:
    """Sentences on one perplexity; with `explain` they say what broken means."""
    losses = [(cell, made.loss(cell, task)) for cell in cells]
    losses = [(cell, loss) for cell, loss in losses if loss is not None]
    if not losses:
        return ""
    flat = [cell for cell, loss in losses if not loss.steep]
    steep = [cell for cell, loss in losses if loss.steep]
    name = perplexity_name(made, task)
    up = f"{percent(FLAT - 1, 0)} up"
    total = many(len(losses), "model")
    if not flat:
        text = f"By {name} no model looks unharmed: it is {up} or more in "
        text += "the one model." if len(losses) == 1 else f"all {total}."
    else:
        looks = "looks" if len(flat) == 1 else "look"
        text = f"By {name} {len(flat)} of {total} {looks} unharmed (less than {up})"
        hurt = [(cell, rows) for cell in flat if (rows := broken(made, cell, keys))]
        if not keys:
            text += "."
        elif not hurt:
            text += ", and no task is broken in " + ("it." if len(flat) == 1 else "any of them.")
        else:
            text += f", yet a task is broken{f' ({BROKEN})' if explain else ''} in "
            text += "it" if len(flat) == 1 else f"{len(hurt)} of them"
            row = min((row for _, rows in hurt for row in rows), key=lambda row: row.kept)
            text += (
                f"; the largest such loss is {made.label(row.task)} with {row.cell.name}, from "
                f"{number(row.dense)} to {number(row.compressed)} at "
                f"{ratio(made.loss(row.cell, task).ratio)} times the dense perplexity."
            )
    quiet = [cell for cell in steep if not broken(made, cell, keys)]
    if keys and quiet:
        where = "all" if len(quiet) == len(steep) else str(len(quiet))
        of = f"In {where} of the {many(len(steep), 'model')} where it is {up} or more"
        if len(steep) == 1:
            of = f"In the one model where it is {up} or more"
        text += f" {of} no task is broken: there perplexity warns and the tasks do not."
    return text


def perplexity_name(made: Analysis, task: str) -> str:
    """What to call a perplexity in a sentence."""
    label = made.label(task)
    return label if label.startswith("perplexity") else f"the perplexity {label}"


def fragile(made: Analysis, cells: list[Cell], keys: list[Key]) -> list[str]:
    """The tasks that lost most and least, over the same models."""
    whole = [cell for cell in cells if all(made.headline(cell, key) for key in keys)]
    if len(keys) < 2 or not any(broken(made, cell, keys) for cell in whole):
        return []

    def kept(key: Key) -> float:
        return sum(made.headline(cell, key).kept for cell in whole) / len(whole)

    def text(key: Key) -> str:
        count = sum(made.headline(cell, key).broken for cell in whole)
        return f"{percent(kept(key), 0)} of its dense score, broken in {count} of {len(whole)}"

    ordered = sorted(keys, key=kept)
    least, most = ordered[0], ordered[-1]
    over = "In the one model" if len(whole) == 1 else f"Over {len(whole)} models"
    return [
        f"{over} {made.label(least[0])} keeps least ({text(least)}), {made.label(most[0])} most "
        f"({text(most)})."
    ]


def levels(made: Analysis, keys: list[Key]) -> list[str]:
    """From which level on each method breaks a task; where there is one level, how many it breaks."""
    series = [one for one in all_series(made) if one.key in keys and one.tested]
    if not any(one.broken for one in series):
        return []
    found = []
    for kind, how in PRUNED.items():
        own = [one for one in series if one.kind == kind]
        if not own:
            continue
        ran = {level_text(kind, cell.level) for cell in made.grid.cells if cell.kind == kind}
        if len(ran) == 1:
            found.append(counts(own, f"at {next(iter(ran))}, the one level,"))
        else:
            found.append(first_levels(own, how))
    for pattern in dict.fromkeys(c.level for c in made.grid.cells if c.kind == "pattern"):
        ran = {c.method for c in made.grid.cells if (c.kind, c.level) == ("pattern", pattern)}
        own = [one for one in series if one.kind == "pattern" and one.method in ran]
        found.append(counts(own, f"at {pattern}", str(pattern)))
    return found


def first_levels(series: list[Series], how: str) -> str:
    """Pruning breaks its first task at 30 % with magnitude, ..."""
    first: dict[str, tuple[float, str]] = {}
    for one in series:
        at = (one.broken.place, one.broken.level)
        first[one.method] = min(first.get(one.method, at), at)
    methods: dict[str, list[str]] = {}
    for method, (_, level) in sorted(first.items(), key=lambda item: item[1][0]):
        methods.setdefault(level, []).append(method)
    never = methods.pop("", [])
    if not methods:
        return f"{how} breaks no task at any level (up to {series[0].strongest})."
    parts = [f"at {level} with {listed(names)}" for level, names in methods.items()]
    text = f"{how} breaks its first task {', '.join(parts)}"
    return text + (f", and none with {listed(never)}." if never else ".")


def counts(series: list[Series], where: str, pattern: str = "") -> str:
    """At 2:4 magnitude breaks 5 of 8 tasks, ..."""
    parts = []
    for method in dict.fromkeys(one.method for one in series):
        own = [one for one in series if one.method == method and pattern_ran(one, pattern)]
        hit = [one for one in own if pattern_hit(one, pattern)]
        if own:
            parts.append(f"{method} breaks {len(hit)} of {many(len(own), 'task')}")
    return f"{where[:1].upper()}{where[1:]} {listed(parts)}." if parts else ""


def pattern_ran(one: Series, pattern: str) -> bool:
    """Whether a series has a result at this pattern; of other kinds at its one level."""
    return pattern not in one.missing if pattern else True


def pattern_hit(one: Series, pattern: str) -> bool:
    """Whether the task is broken there."""
    return pattern in one.broken.levels.split(", ") if pattern else bool(one.broken)


def certain(made: Analysis, cells: list[Cell], keys: list[Key]) -> str:
    """Open verdicts, and what would go unseen."""
    rows = [row for cell in cells for key in keys if (row := made.headline(cell, key))]
    ruled = [row for row in rows if row.verdict]
    sizes = [size for key in keys if known(size := smallest_difference(made, key))]
    parts = []
    if ruled:
        undecided = sum(row.verdict == "undecided" for row in ruled)
        parts.append(f"{undecided} of {many(len(ruled), 'verdict')} stay undecided")
    if sizes:
        low, high = number(min(sizes), 3), number(max(sizes), 3)
        size = low if low == high else f"{low} to {high}, by task (medians over the models),"
        parts.append(f"a difference below {size} would often go unseen with so many items")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if parts else ""


def left_out(own: list[Cell], cells: list[Cell]) -> str:
    """Models that failed, did not run or hold nothing."""
    count = len(own) - len(cells)
    if not count:
        return ""
    return f"{many(count, 'model')} without results {'is' if count == 1 else 'are'} left out."
