"""Runs a grid: the dense model once, then each compressed model, made and scored once."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import folder as files
from .config import make_grid
from .grid import DENSE, KickCell, KickGrid
from .other_model import OtherModel, look_at
from .result import CellResult, KickResult
from .sizes import as_it_is, linear_zeros, packed_names, parameters, tensors

if TYPE_CHECKING:
    import torch

    import cupel


@dataclass(frozen=True)
class KickStatus:
    """Where a grid stands; handed to its progress function.

    `stage` is "start", "compress", "score" or "end" of `cell`; `step` is where the compression or the
    scoring stands, else None. `result` shows all cells.
    """

    result: KickResult
    cell: CellResult
    stage: str
    step: cupel.Progress | None = None


@dataclass(frozen=True)
class Plan:
    """A grid that was checked and not begun."""

    model: Path
    out: Path
    grid: KickGrid
    cells: list[KickCell]
    length: int  # of a calibration window, tokens
    kick: dict[str, Any]  # what kick.json holds
    resumed: bool  # whether `out` holds part of it
    disk: files.Disk
    left: int  # models to score, the dense one among them
    kept: int  # the other ones of them
    other: OtherModel | None
    workers: int = 1  # processes


def kick(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    grid: KickGrid | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    workers: int = 1,
    progress: Callable[[KickStatus], object] | None = None,
    tokenizer: Any = None,
    **options: Any,
) -> KickResult:
    """Compresses a model in every way of a grid and scores all of them on the same tasks.

    Each compressed model is made from the dense files, scored, and compared with the dense model item
    by item; one model a process is in memory at a time. All of it is in `out` as soon as it is known, so that a
    run which ended at any moment goes on. A cell that fails is recorded, and the others run.

        cupel.kick("MODEL", "grid", methods=["wanda", "sparsegpt"], sparsity=[0.3, 0.5],
                   calibration="c4.jsonl", tasks=["perplexity"], text="wiki.test.raw").to_pandas()

    Args:
        model: Hugging Face model folder.
        out: Folder to write: new, empty, or with `resume` that of the same grid.
        grid: KickGrid, a mapping of its fields, or a YAML file of them.
        resume: Go on with what `out` holds. Done cells are left, failed ones run again.
        workers: Processes that run cells side by side and share the threads: faster for small models,
            and what is written is the same. They know nothing of criteria, tasks and templates that
            this process added.
        progress: Function of a KickStatus; returning False ends the run (KeyboardInterrupt), as Ctrl-C
            does.
        tokenizer: None: that of the folder.
        **options: Fields of KickGrid, in place of what `grid` says.

    Returns:
        KickResult; `.failed` lists cells that failed.

    Raises:
        ValueError: A grid that cannot run; an `out` that holds something else, or another grid (names
            the first difference); no room on the disk.
        FormatError: A bad YAML file or data set.
    """
    plan = prepare(model, out, grid, resume, options, tokenizer, workers)
    return run(plan, progress, tokenizer)


def prepare(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    grid: KickGrid | Mapping[str, Any] | str | os.PathLike[str] | None,
    resume: bool,
    options: Mapping[str, Any],
    tokenizer: Any = None,
    workers: int = 1,
) -> Plan:
    """Checks everything that can be checked before a model runs; writes nothing."""
    import cupel

    if not isinstance(model, str | os.PathLike):
        raise TypeError(
            f"[kick] the model is a folder: each cell starts from its files. Got {type(model).__name__}."
        )
    if workers < 1 or (workers > 1 and tokenizer is not None):
        raise ValueError(
            "[kick] workers is at least 1, and several load the folder's own tokenizer. Got "
            f"{workers}{'' if tokenizer is None else ' and a tokenizer'}."
        )
    model, out = Path(model), Path(out)
    grid = make_grid(grid, options)
    grid.cells()  # refuses what makes no grid
    resumed = files.check_out(out, resume)
    for path in (*files.task_data(grid).values(), grid.calibration and Path(grid.calibration)):
        if path and not path.exists():
            raise cupel.FormatError(f"{path}: there is no such file or folder.")
    dense = cupel.load_model(model, dtype=grid.dtype, lazy=True)
    stored = cupel.load_model(model, lazy=True).dtype
    positions = dense.config.max_positions
    length = grid.length or min(2048, positions)
    if length > positions:
        raise ValueError(
            f"[kick] length is at most {positions}, the positions that the model has. Got {length}."
        )
    other = look_at(grid, model, dense, tokenizer)
    cells = grid.cells(other.sparsity if other else None)
    more = {"against_model": other.kick} if other else {}
    kick = files.describe(grid, cells, model, dense.fingerprint(), length, more)
    kept, left = len(cells), len(cells) + 1
    if resumed:
        files.check_same(out, kick)
        before = KickResult(out)
        kept = sum(one.status != "done" for one in before.cells)
        left = kept + (before.dense.status != "done")
    factor = dense.dtype.itemsize / stored.itemsize
    disk = files.disk(out, grid, model, left, kept, factor)
    disk.check(out)
    return Plan(model, out, grid, cells, length, kick, resumed, disk, left, kept, other, workers)


def run(plan: Plan, progress: Callable[[KickStatus], object] | None, tokenizer: Any) -> KickResult:
    """Runs what prepare() checked."""
    if not plan.resumed:
        files.write_json(plan.out / files.KICK, plan.kick)
    with contextlib.ExitStack() as locks:
        locks.enter_context(files.locked(plan.out))
        if files.keep_shown(plan.out, plan.kick):  # the lock was on the file before
            locks.enter_context(files.locked(plan.out))
        return Runner(plan, progress, tokenizer).run()


class Runner:
    """One process at work on a grid."""

    def __init__(self, plan: Plan, progress: Callable[[KickStatus], object] | None, tokenizer: Any):
        from .._chat import use_asked_template
        from ..cli.arguments import load_tokenizer

        use_asked_template(plan.model, plan.grid.tasks)
        self._plan = plan
        self._grid = plan.grid
        self._progress = progress
        self._tokenizer = load_tokenizer(plan.model) if tokenizer is None else tokenizer
        self._windows: dict[tuple[int, int], torch.Tensor] = {}
        self.result = KickResult(plan.out)
        self._dense: cupel.EvalResult | None = None

    def run(self) -> KickResult:
        """Runs all that is not done."""
        result, dense = self.result, self.result.dense
        if dense.status != "done":
            self._start(dense)
            self._score_dense(dense)
        self._dense = dense.scores
        result.shown.check(self._dense)
        self._check_disk()
        left = [one for one in result.cells if one.status != "done"]
        if self._plan.workers > 1 and len(left) > 1:
            from .workers import run_cells

            run_cells(self._plan, left, self._begin, self._tell)
            return result
        for one in left:
            self.run_cell(one)
        return result

    def run_cell(self, one: CellResult) -> None:
        """Makes and scores one compressed model, once the dense one is done."""
        if self._dense is None:
            self._dense = self.result.dense.scores
        self._start(one)
        during = "compress"
        try:
            model, seconds, info = self._compress(one)
            during = "evaluate"
            self._score(one, model, seconds, info)
        except OSError:  # the disk, not the cell
            raise
        except Exception as error:
            self._fail(one, during, error)
        model = None  # before the next one is loaded
        self._tell(one, "end")

    def _tell(self, one: CellResult, stage: str, step: cupel.Progress | None = None) -> object:
        """Reports; a KeyboardInterrupt between steps when told to stop."""
        answer = self._progress and self._progress(KickStatus(self.result, one, stage, step))
        if answer is False and step is None:
            raise KeyboardInterrupt("[kick] cancelled by the progress function.")
        return answer

    def _start(self, one: CellResult) -> None:
        """Begins a cell; what an attempt that failed said is removed."""
        with contextlib.suppress(FileNotFoundError):
            (one.folder / files.CELL).unlink()
        self._begin(one)

    def _begin(self, one: CellResult) -> None:
        """Makes a cell one of those at work."""
        one.status, one.info = "running", {}
        self._tell(one, "start")

    def _load(self, folder: str | os.PathLike[str] | None = None) -> cupel.Model:
        import cupel

        folder = self._plan.model if folder is None else folder
        return cupel.load_model(folder, dtype=self._grid.dtype, device=self._grid.device)

    def _compress(self, one: CellResult) -> tuple[cupel.Model, float, dict[str, Any]]:
        """The compressed model, seconds, and what cell.json says of it."""
        import cupel

        from ..cli.compress import told

        grid, cell = self._grid, one.cell
        if cell.kind == "model":
            model = self._load(grid.against_model)
            return model, 0.0, as_it_is(model)
        start = time.monotonic()
        model = self._load()
        result = cupel.compress(
            model,
            self._calibration(cell.samples, cell.seed),
            grid.make_compressor(cell.method, cell.kind, cell.level),
            propagation=grid.propagation,
            skip=grid.skip,
            only=grid.only,
            allocation=grid.make_allocation(cell.kind, cell.level),
            progress=lambda step: self._tell(one, "compress", step),
        )
        files.write(one.folder / files.COMPRESSION, result.to_json() + "\n")
        if grid.keep_models:
            kept = one.folder / "model"
            shutil.rmtree(kept, ignore_errors=True)  # of a run that was interrupted
            cupel.save_model(model, kept)
        weights = tensors(model)
        packed = (
            sum(size for name, size in weights.items() if name not in packed_names(result))
            + result.packed_bytes
        )
        info = {
            "sparsity": result.sparsity,
            "bits_per_weight": 8 * result.packed_bytes / result.weights if result.weights else 0.0,
            "weight_bytes": sum(weights.values()),
            "packed_bytes": packed,
            "parameters": parameters(model),
            "nonzero_parameters": parameters(model) - linear_zeros(model),
            "notes": told(result),
        }
        return model, time.monotonic() - start, info

    def _calibration(self, samples: int, seed: int) -> torch.Tensor | None:
        """So many windows of a seed, drawn once; None without a text."""
        import cupel

        grid = self._grid
        if grid.calibration is None:
            return None
        if (samples, seed) not in self._windows:
            self._windows[samples, seed] = cupel.sample_windows(
                grid.calibration,
                self._tokenizer,
                samples=samples,
                length=self._plan.length,
                seed=seed,
            )
        return self._windows[samples, seed]

    def _score_dense(self, one: CellResult) -> None:
        model = self._load()
        self._score(one, model, 0.0, as_it_is(model))
        self._tell(one, "end")

    def _score(
        self, one: CellResult, model: cupel.Model, seconds: float, info: dict[str, Any]
    ) -> None:
        """Scores a model, compares it, and writes its files; cell.json last."""
        import cupel

        grid = self._grid
        start = time.monotonic()
        scores = cupel.evaluate(
            model,
            self._tokenizer,
            list(map(str, grid.tasks)),
            data=grid.data,
            text=grid.text,
            limit=grid.limit or 0,
            record=one.folder / "records",
            resume=True,  # the manifest refuses the records of other weights
            seed=grid.sampling_seed,
            boundary=grid.boundary,
            over_long=grid.over_long,
            verify_prefix=grid.verify_prefix,
            batch_tokens=grid.batch_tokens,
            progress=lambda step: self._tell(one, "score", step),
        )
        files.write(one.folder / files.SCORES, scores.to_json() + "\n")
        notes = [*info.pop("notes")]
        if self._dense is not None:
            comparison = cupel.compare(self._dense, scores)
            files.write(one.folder / files.COMPARISON, comparison.to_json() + "\n")
            notes += comparison.notes
        took = {"compress": seconds, "evaluate": time.monotonic() - start}
        self._end(one, "done", took, info | {"notes": notes})

    def _fail(self, one: CellResult, during: str, error: Exception) -> None:
        said = f"{type(error).__name__} in {during}: {error}"
        self._end(one, "failed", {}, {"error": said, "notes": []})

    def _end(
        self, one: CellResult, status: str, seconds: dict[str, float], info: dict[str, Any]
    ) -> None:
        """Writes cell.json: from here on the cell has ended."""
        rounded = {name: round(value, 3) for name, value in seconds.items()}
        info = {"id": one.id, "status": status, "seconds": rounded} | info
        files.write_json(one.folder / files.CELL, info)
        one.read()

    def _check_disk(self) -> None:
        """Once the dense model's records are there, the size of the others' is known."""
        plan = self._plan
        left = sum(one.status != "done" for one in self.result.cells)
        models = plan.disk.models * left // max(1, plan.kept)
        records = files.size(plan.out / DENSE) * left
        files.Disk(records, models, files.free_bytes(plan.out)).check(plan.out)
