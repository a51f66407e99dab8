"""What a grid consists of: its options, and the cells that they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import options as read
from .names import cell_name, model_name

if TYPE_CHECKING:
    import cupel

DENSE = "dense"
QUANTIZERS = ("rtn", "gptq")


def option(default: Any, reader: read.Reader, text: str, group: str, **more: Any) -> Any:
    """A field of KickGrid: its default, its reader, what it says in --help."""
    metadata = {"read": reader, "help": text, "group": group, **more}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class KickCell:
    """One compressed model of a grid.

    `kind` is "sparsity", "pattern" or "bits", `level` 0.5, "2:4" or 4. `seeded` is False for a method
    that draws nothing from the calibration text: it runs once, with the first seed, on whose text its
    errors are measured. `samples` is the number of windows drawn, 0 without a text. The kind "model" is
    no compression but another model, `against_model`, as it is.
    """

    id: str
    method: str
    kind: str
    level: float | int | str
    label: str
    seed: int
    seeded: bool = True
    samples: int = 0


@dataclass(kw_only=True)
class KickGrid:
    """A grid: `methods` x (`sparsity` and `patterns`), `quantizers` x `bits`, each x `samples` x `seeds`.

    The fields are the keys of a YAML file and, with dashes, the flags of `cupel kick`. Those that take
    a list take one value as well. Methods are "sparsegpt" and the names in cupel.criteria(); tasks are
    as in cupel.evaluate(). A wrong value is a ValueError that names the field.
    """

    # fmt: off
    methods: list[str] = option([], read.several(read.name), "pruning methods, such as magnitude,wanda,sparsegpt", "grid")
    sparsity: list[float | str] = option([], read.several(read.sparsity), "fractions of zeros, such as 0.3,0.5; parity: as many weights are left as --against-model has", "grid")
    patterns: list[str] = option([], read.several(read.pattern), "n:m patterns, such as 2:4,4:8 (n kept of m)", "grid")
    quantizers: list[str] = option([], read.several(read.one_of(*QUANTIZERS)), "rtn, gptq", "grid")
    bits: list[int] = option([], read.several(read.whole(1, 8)), "1 to 8, such as 4,3", "grid")
    seeds: list[int] = option([0], read.several(read.whole(0)), "of the calibration text (default: 0)", "grid")
    against_model: str | None = option(None, read.path, "folder of a smaller model, scored as it is", "grid", path=True)
    tasks: list[str] = option(["perplexity"], read.tasks, "each NAME or NAME:KEY=VALUE,... (default: perplexity)", "grid")

    calibration: str | None = option(None, read.path, "calibration text, .txt, .jsonl or .jsonl.gz", "calibration", path=True)
    samples: list[int] = option([128], read.several(read.whole(1)), "windows of it (default: 128); several, such as 8,32,128, make an axis of the grid", "calibration")
    length: int | None = option(None, read.or_none(read.whole(1)), "tokens a window (default: 2048, or the model's positions if it has fewer)", "calibration")
    propagation: str = option("staged", read.one_of("staged", "block", "dense"), "where a layer's inputs come from (default: staged)", "calibration")

    data: str | None = option(None, read.path, "folder of data sets", "scoring", path=True)
    text: str | None = option(None, read.path, "text for perplexity", "scoring", path=True)
    limit: int | None = option(None, read.or_none(read.whole(1)), "run the first so many items or windows of each task", "scoring")
    sampling_seed: int = option(0, read.whole(0), "of texts that tasks sample (default: 0)", "scoring")
    batch_tokens: int = option(2048, read.whole(1), "run together (default: 2048)", "scoring")
    boundary: str = option("joint", read.one_of("joint", "split", "harness"), "where an answer begins when a token spans the join (default: joint)", "scoring")
    over_long: str = option("error", read.one_of("error", "truncate_left"), "what to do with a request longer than the model (default: error)", "scoring")
    verify_prefix: int = option(0, read.whole(0), "requests of each batch to score again without shared prefixes (default: 0)", "scoring")

    group: int = option(0, read.whole(0), "columns that share a scale (default: 0, a whole row)", "methods")
    symmetric: bool = option(False, read.flag, "fixed zero point", "methods")
    clip: str = option("min_max", read.name, "how scales are chosen: min_max (default), mse, hessian", "methods")
    scale_dtype: str = option("float32", read.one_of("float32", "float16", "bfloat16"), "of scales (default: float32)", "methods")
    damping: float = option(0.01, read.fraction, "of sparsegpt and gptq (default: 0.01)", "methods")
    block: int = option(128, read.whole(1), "columns of sparsegpt and gptq (default: 128)", "methods")
    order: str = option("none", read.one_of("none", "activation"), "of gptq; activation = act-order", "methods")
    static_groups: bool = option(False, read.flag, "fit gptq's grids beforehand", "methods")
    saliency: str = option("obs", read.name, "of sparsegpt: obs (default), wanda or magnitude", "methods")
    rules: str = option("exact", read.one_of("exact", "published"), "published: as the papers' code (default: exact)", "methods")
    allocation: str | None = option(None, read.or_none(read.one_of("uniform", "owl", "global")), "how a sparsity is shared out among layers (default: each its own share)", "methods")
    skip: list[str] = option([], read.several(read.name), "layers to leave alone: names, globs or re:REGEX", "methods", words=True)
    only: list[str] = option([], read.several(read.name), "compress only these layers", "methods", words=True)

    dtype: str = option("auto", read.one_of("auto", "float32", "bfloat16", "float16"), "of the weights; auto = as stored (default)", "model")
    device: str = option("cpu", read.name, "where to compute (default: cpu)", "model")
    keep_models: bool = option(False, read.flag, "keep each compressed model, in cells/ID/model", "model")
    # fmt: on

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                value = field.metadata["read"](getattr(self, field.name))
            except ValueError as error:
                raise ValueError(f"[KickGrid] {field.name}: {error}") from None
            setattr(self, field.name, value)

    def cells(self, parity: float | None = None) -> list[KickCell]:
        """The compressed models of the grid, in the order in which they run.

        Args:
            parity: The sparsity that "parity" stands for; None leaves the word (only the models' shapes
                tell, which kick() looks at).

        Raises:
            ValueError: Nothing to run, a method without levels or levels without a method, unknown
                methods, options that no method takes, a method that needs text and no `calibration`.
        """
        check_levels(self)
        cells = [other_cell(self.against_model, self.seeds[0])] if self.against_model else []
        cells += [
            cell
            for methods, levels in (
                (self.methods, [("sparsity", level) for level in self.sparsity]),
                (self.methods, [("pattern", level) for level in self.patterns]),
                (self.quantizers, [("bits", level) for level in self.bits]),
            )
            for method in methods
            for kind, level in levels
            for cell in self._seeds(method, kind, level, parity)
        ]
        if len({cell.id for cell in cells} | {DENSE}) != len(cells) + 1:
            raise ValueError(
                "[KickGrid] two cells have one name; methods and `against_model` differ in letters or "
                "digits."
            )
        return cells

    def _seeds(
        self, method: str, kind: str, level: Any, parity: float | None
    ) -> Iterator[KickCell]:
        """The cells of one method and level."""
        import cupel

        start, label = cell_name(method, kind, level, parity)
        if level == read.PARITY:
            level = read.PARITY if parity is None else parity
        fraction = 0.5 if level == read.PARITY else level  # any will do to ask for needs
        allocation = self.make_allocation(kind, fraction)
        seeded = self.make_compressor(method, kind, fraction).needs != cupel.Needs.none
        seeded = seeded or bool(allocation and allocation.needs_text)
        if seeded and self.calibration is None:
            needs = method if allocation is None or not allocation.needs_text else self.allocation
            raise ValueError(f"[KickGrid] {needs} needs a calibration text: give `calibration`.")
        draws = [(samples, seed) for samples in self.samples for seed in self.seeds]
        several = seeded and len(self.samples) > 1
        for samples, seed in draws if seeded else draws[:1]:
            yield KickCell(
                id=start + (f"-n{samples}" if several else "") + (f"-s{seed}" if seeded else ""),
                method=method,
                kind=kind,
                level=level,
                label=label + (f", {samples} windows" if several else ""),
                seed=seed,
                seeded=seeded,
                samples=samples if self.calibration is not None else 0,
            )

    def make_compressor(self, method: str, kind: str, level: Any) -> cupel.Compressor:
        """The compressor of a cell."""
        import cupel

        if kind == "bits":
            grid = cupel.Grid(
                bits=level,
                group=self.group,
                symmetric=self.symmetric,
                clip=self.clip,
                scale_dtype=self.scale_dtype,
            )
            if method == "rtn":
                return cupel.Rtn(grid, rules=self.rules)
            return cupel.Gptq(
                grid,
                damping=self.damping,
                block=self.block,
                order=self.order,
                static_groups=self.static_groups,
                rules=self.rules,
            )
        if kind == "pattern":
            goal = cupel.n_of_m(*map(int, level.split(":")))
        else:
            goal = cupel.unstructured(level)
        if method == "sparsegpt":
            return cupel.SparseGpt(
                goal,
                damping=self.damping,
                block=self.block,
                saliency=self.saliency,
                rules=self.rules,
            )
        return cupel.Prune(method, goal, rules=self.rules)

    def make_allocation(self, kind: str, level: Any) -> cupel.Allocation | None:
        """How a cell's sparsity is shared out; n:m and bits fix every layer's share."""
        import cupel

        if self.allocation is None or kind != "sparsity":
            return None
        rules = {"uniform": cupel.uniform, "owl": cupel.owl, "global": cupel.global_magnitude}
        return rules[self.allocation](level)

    def to_dict(self) -> dict[str, Any]:
        """Every option under its name; tasks with a label or a value as mappings."""
        made = dataclasses.asdict(self)
        made["tasks"] = [
            text.to_mapping() if isinstance(text, read.TaskText) else text for text in self.tasks
        ]
        return made

    def to_yaml(self) -> str:
        """Every option as YAML, which reads back as the same grid."""
        import yaml

        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


FIELDS = {field.name: field for field in dataclasses.fields(KickGrid)}


def other_cell(folder: str, seed: int) -> KickCell:
    """The cell of `against_model`: nothing is drawn for it."""
    name = model_name(folder)
    start, label = cell_name(name, "model", DENSE, None)
    return KickCell(start, name, "model", DENSE, label, seed, seeded=False)


def check_levels(grid: KickGrid) -> None:
    """Refuses what makes no cells, or leaves some option without a use."""
    import cupel

    def refuse(rule: str) -> None:
        raise ValueError(f"[KickGrid] {rule}")

    known = [*cupel.criteria(), "sparsegpt"]
    for method in grid.methods:
        if method in QUANTIZERS:
            refuse(f"{method} quantizes: it belongs to `quantizers`, with `bits`.")
        if method not in known:
            refuse(f"unknown method {method}; known: {', '.join(known)}.")
    if grid.methods and not (grid.sparsity or grid.patterns):
        refuse("`methods` prune: give `sparsity` or `patterns`.")
    if (grid.sparsity or grid.patterns) and not grid.methods:
        refuse("`sparsity` and `patterns` need `methods`, such as wanda.")
    if bool(grid.quantizers) != bool(grid.bits):
        refuse("`quantizers` and `bits` go together.")
    if not (grid.methods or grid.quantizers):
        refuse(
            "there is nothing to run: give `methods` with `sparsity`, or `quantizers` with `bits`."
        )
    if read.PARITY in grid.sparsity and grid.against_model is None:
        refuse(
            "the sparsity `parity` leaves as many weights as a smaller model has: give `against_model`."
        )
    if not grid.samples:
        refuse("`samples` holds one number at least.")
    if not grid.seeds:
        refuse("`seeds` holds one seed at least.")
    if not grid.tasks:
        refuse("`tasks` holds one task at least.")
    if grid.allocation and not grid.sparsity:
        refuse("`allocation` shares out `sparsity`; n:m and bits fix every layer's share.")
    for text in grid.tasks:
        word, options = read.task_options(text)
        if word == "perplexity" and "file" not in options and not (grid.text or grid.data):
            refuse("perplexity needs a text: give `text`, or `data`.")
        if word == "perplexity" and getattr(text, "value", "") not in ("", "perplexity"):
            refuse(f"`value` of a perplexity is perplexity. Got {text.value}.")
        if word != "perplexity" and word not in cupel.tasks():
            refuse(f"unknown task {word}; known: {', '.join([*cupel.tasks(), 'perplexity'])}.")
