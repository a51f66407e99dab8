"""What a grid's scores say: every value of every cell beside the dense one, with its uncertainty.

Nothing is estimated here that cupel.compare() estimates already. What is added is what a single
comparison cannot know: Holm's adjustment over all tests of the grid, and a p-value for values that
are not 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .._kick.labels import Shown
from .grid import Cell, Grid
from .judged import add_judged, judged_label, judged_task
from .parts import HEADLINES, Category, Key, categories, flags

if TYPE_CHECKING:
    import cupel

LEVEL = 0.95  # of intervals
ALPHA = 0.05  # of tests
MATCHING = 0.95  # share of the dense score that a matching model keeps
FLAT = 1.05  # a perplexity that rose by less looks flat
NAN = float("nan")


@dataclass
class Row:
    """One value of a task under the dense model and one cell."""

    cell: Cell
    task: str
    protocol: str
    metric: str
    dense: float
    compressed: float
    point: bool  # the paper's rule on the two scores alone
    verdict: str  # "matching", "not matching", "undecided", or "" where the rule has no meaning
    reason: str = ""  # of an undecided verdict
    items: int = 0
    difference: float = NAN
    standard_error: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    p_grid: float = NAN  # Holm's, over the grid; see adjust()
    flips: Any = None  # cupel.Flips, for values that are all 0 or 1
    detectable: float = NAN
    headline: bool = False

    @property
    def key(self) -> Key:
        return self.task, self.protocol

    @property
    def kept(self) -> float:
        """Share of the dense score."""
        return self.compressed / self.dense if self.dense > 0 else NAN

    @property
    def worse(self) -> bool:
        """A significant loss."""
        return self.difference < 0 and self.high < 0 and self.p_grid < ALPHA

    @property
    def broken(self) -> bool:
        """A significant loss that is also larger than a matching model's."""
        return self.worse and not self.point


@dataclass
class Loss:
    """A perplexity under the dense model and one cell."""

    cell: Cell
    task: str
    protocol: str
    blocks: int
    dense: float
    compressed: float
    ratio: float
    ratio_low: float = NAN
    ratio_high: float = NAN
    difference: float = NAN
    standard_error: float = NAN
    low: float = NAN
    high: float = NAN

    @property
    def rises(self) -> bool:
        """Significantly above the dense one, by its own interval."""
        return self.low > 0

    @property
    def steep(self) -> bool:
        """No longer flat to the eye."""
        return self.ratio >= FLAT


@dataclass
class Analysis:
    """Everything that the pages show."""

    grid: Grid
    dense: cupel.EvalResult | None
    rows: list[Row] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    headlines: dict[Key, str] = field(default_factory=dict)  # -> metric
    tests: int = 0  # in Holm's family: models x tasks
    all_tests: int = 0  # of every value and protocol
    # cell id -> task, protocol -> ...
    flags: dict[str, dict[Key, dict[str, float]]] = field(default_factory=dict)
    categories: dict[str, dict[Key, dict[str, Category]]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)  # cell id -> what to know of it
    # cell id -> mode -> what a judge said of its answers
    judged: dict[str, dict[str, cupel.EvalResult]] = field(default_factory=dict)
    experiments: list[Any] | None = None  # tables that are made once: experiments()
    shown: Shown = field(default_factory=lambda: Shown({}))

    def label(self, task: str) -> str:
        """What a task is called."""
        return judged_label(self.shown, task)

    def of(self, cell: Cell, key: Key | None = None) -> list[Row]:
        """Rows of a cell, of one task and protocol or all."""
        return [row for row in self.rows if row.cell is cell and key in (None, row.key)]

    def headline(self, cell: Cell, key: Key) -> Row | None:
        """The row that stands for a task."""
        return next((row for row in self.of(cell, key) if row.headline), None)

    def loss(self, cell: Cell, task: str) -> Loss | None:
        """A perplexity of a cell."""
        return next((loss for loss in self.losses if loss.cell is cell and loss.task == task), None)

    @property
    def perplexities(self) -> list[str]:
        """Tasks that are perplexities."""
        return list(dict.fromkeys(loss.task for loss in self.losses))


def analyse(grid: Grid, progress: Callable[[str], None] | None = None) -> Analysis:
    """Compares every finished cell with the dense one."""
    dense = None
    if grid.dense is not None and grid.dense.done:
        dense = grid.dense.scores()
    made = Analysis(grid, dense, shown=Shown(grid.kick))
    if dense is not None:
        made.fingerprints["dense"] = dense.model.fingerprint
        made.flags["dense"] = flags(dense)
        add_judged(made, grid.dense, made.problems.setdefault(grid.dense.id, []))
    for cell in grid.cells:
        if progress:
            progress(cell.label)
        if cell.done:
            add_cell(made, cell)
    choose_headlines(made)
    adjust(made)
    return made


def add_cell(made: Analysis, cell: Cell) -> None:
    """Takes what one cell's scores say; what cannot be read or compared becomes a problem."""
    import cupel

    try:
        scores = cell.scores()
    except (ValueError, OSError) as error:
        cell.status, cell.why = "unreadable", str(error)
        return
    made.fingerprints[cell.id] = scores.model.fingerprint
    made.flags[cell.id] = flags(scores)
    problems = made.problems.setdefault(cell.id, [])
    problems += scores.run.notes
    if made.dense is None:
        if cell.comparison:
            add_pairs(made, cell, stored(cell.comparison))
        return
    reason = "no paired data"
    if set(scored(made.dense)) & set(scored(scores)):
        try:
            pairs = cupel.compare(made.dense, scores, matching=MATCHING, level=LEVEL)
            add_pairs(made, cell, pairs)
            unpaired = map(made.label, pairs.unpaired)
            problems += [f"Only one side has {task}." for task in unpaired] + pairs.notes
        except ValueError as error:
            problems.append(f"Not compared: {error}")
            reason = f"not comparable: {error}"
    paired = {row.key for row in made.of(cell)}
    made.rows += unpaired_rows(made.dense.metrics, scores.metrics, cell, reason, paired)
    made.categories[cell.id] = categories(made.dense, scores, made.shown.value)
    add_judged(made, cell, problems)


def scored(scores: cupel.EvalResult) -> list[str]:
    """Tasks of which items or windows are there to be paired."""
    return [
        task for task in scores.manifests if task in scores.perplexities or has_items(scores, task)
    ]


def has_items(scores: cupel.EvalResult, task: str) -> bool:
    """Whether a result holds its items, and not their means alone."""
    try:
        return len(scores.items(task)) > 0
    except KeyError:
        return False


def stored(comparison: dict[str, Any]) -> Any:
    """comparison.json as if compare() had just made it."""

    def value(json: Any) -> Any:
        return NAN if json is None else json

    tasks, losses = [], []
    for entry in comparison.get("tasks", []):
        low, high = map(value, entry["interval"])
        fields = {name: value(json) for name, json in entry.items()}
        fields |= {"low": low, "high": high, "flips": SimpleNamespace(**entry["flips"])}
        tasks.append(SimpleNamespace(**fields))
    for entry in comparison.get("perplexities", []):
        fields = {name: value(json) for name, json in entry.items()}
        fields["low"], fields["high"] = map(value, entry["interval"])
        fields["ratio_low"], fields["ratio_high"] = map(value, entry["ratio_interval"])
        losses.append(SimpleNamespace(**fields))
    return SimpleNamespace(tasks=tasks, perplexities=losses)


def add_pairs(
    made: Analysis, cell: Cell, comparison: Any, name: Callable[[str], str] = str
) -> None:
    """Rows of a Comparison, each task under `name` of it."""
    import cupel

    for p in comparison.perplexities:
        made.losses.append(
            Loss(
                cell, name(p.task), p.protocol, p.blocks, p.dense, p.compressed, p.ratio,
                p.ratio_low, p.ratio_high, p.loss_difference, p.standard_error, p.low, p.high,
            )
        )  # fmt: skip
    for t in comparison.tasks:
        binary = not math.isnan(t.p)
        ruled = t.dense > 0 and t.compressed >= 0  # 95 % of nothing is no demand
        made.rows.append(
            Row(
                cell, name(t.task), t.protocol, t.metric, t.dense, t.compressed,
                point=ruled and cupel.matching(t.dense, t.compressed, MATCHING),
                verdict=t.verdict if ruled else "",
                reason="too few items" if ruled and t.verdict == "undecided" else "",
                items=t.items,
                difference=t.difference,
                standard_error=t.standard_error,
                low=t.low,
                high=t.high,
                p=t.p if binary else wald(t),
                flips=t.flips if binary else None,
                detectable=t.minimum_detectable_effect,
            )
        )  # fmt: skip


def wald(pair: Any) -> float:
    """A p-value for a mean difference of values that are not 0 or 1, from its bootstrap error; never
    below that of n items that all changed in one direction, 2^(1 - n)."""
    if pair.difference == 0:
        return 1.0
    if math.isnan(pair.standard_error):
        return NAN
    least = 2.0 ** (1 - pair.items)
    if pair.standard_error == 0:
        return least
    return max(least, math.erfc(abs(pair.difference) / pair.standard_error / math.sqrt(2)))


def plain(metric: str) -> bool:
    """Whether a metric is a value over all items and no count."""
    return not ("/" in metric or metric.startswith(("flag_", "items_with_")) or metric == "items")


def unpaired_rows(
    dense: dict[str, Any],
    compressed: dict[str, Any],
    cell: Cell,
    reason: str,
    paired: Iterable[Key],
) -> list[Row]:
    """Rows of metrics that both sides have without items to pair: the paper's rule decides on the
    two numbers, the verdict stays open."""
    import cupel

    rows = []
    for task, protocols in compressed.items():
        for protocol, values in protocols.items():
            before = dense.get(task, {}).get(protocol, {})
            if (task, protocol) in paired or any("perplexity" in name for name in values):
                continue
            for metric, value in values.items():
                if not plain(metric) or metric not in before:
                    continue
                ruled = before[metric] > 0 and value >= 0
                rows.append(
                    Row(
                        cell, task, protocol, metric, before[metric], value,
                        point=ruled and cupel.matching(before[metric], value, MATCHING),
                        verdict="undecided" if ruled else "",
                        reason=reason,
                        difference=value - before[metric],
                    )
                )  # fmt: skip
    return rows


def choose_headlines(made: Analysis) -> None:
    """Marks the value that stands for each task and protocol; keys come in the order of the run, of a
    task those protocols first that have the value chosen for it."""
    keys = dict.fromkeys(row.key for row in made.rows)
    asked = [str(task) for task in made.grid.kick.get("tasks", [])]
    names = [task.split(":")[0] for task in asked]
    protocols = {}
    if made.dense is not None:
        protocols = {task: list(m.protocols) for task, m in made.dense.manifests.items()}

    def lacks_choice(key: Key) -> bool:
        chosen = made.shown.value(key[0])
        return chosen != "" and all(row.metric != chosen for row in made.rows if row.key == key)

    def place(key: Key) -> tuple[int, bool, bool, int]:
        name, protocol = key
        judged = judged_task(name)
        task = name if judged is None else judged
        known = protocols.get(task, [])
        after = len(asked)
        return (
            asked.index(task) if task in asked else names.index(task) if task in names else after,
            judged is not None,
            lacks_choice(key),
            known.index(protocol) if protocol in known else len(known),
        )

    for key in sorted(keys, key=place):
        metrics = dict.fromkeys(row.metric for row in made.rows if row.key == key)
        best = (made.shown.value(key[0]), *HEADLINES)
        made.headlines[key] = next((m for m in best if m in metrics), min(metrics))
    for row in made.rows:
        row.headline = made.headlines[row.key] == row.metric
    if asked:  # perplexities too come in the order of the run
        at = {loss.task: place((loss.task, ""))[0] for loss in made.losses}
        made.losses.sort(key=lambda loss: (made.grid.cells.index(loss.cell), at[loss.task]))
    cells, order = [cell.id for cell in made.grid.cells], list(made.headlines)
    made.rows.sort(
        key=lambda row: (
            cells.index(row.cell.id), order.index(row.key), not row.headline, row.metric
        )
    )  # fmt: skip


def main_keys(made: Analysis) -> list[Key]:
    """The first protocol of each task."""
    first: dict[str, Key] = {}
    for key in made.headlines:
        first.setdefault(key[0], key)
    return list(first.values())


def adjust(made: Analysis) -> None:
    """Holm's adjustment over models x tasks, each task by the value and protocol that stand for it.
    Every other value is adjusted over all tests there are, so that looking at more costs its price."""
    import cupel

    tested = [row for row in made.rows if not math.isnan(row.p)]
    main = [row for row in tested if row.headline and row.key in main_keys(made)]
    made.tests, made.all_tests = len(main), len(tested)
    for family in (tested, main):
        if family:
            for row, p in zip(family, cupel.holm([row.p for row in family]), strict=True):
                row.p_grid = p
