"""`cupel demo`: what each method does to the small model that comes with the package."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .display import table
from .evaluate import name_of

if TYPE_CHECKING:
    import cupel

SAMPLES, LENGTH, GROUP = 32, 256, 64
COLUMNS = (
    "method",
    "perplexity",
    "ratio",
    "loss difference",
    "bytes on disk",
    "if packed (computed)",
    "seconds",
)
READING = (
    "A ratio of 1 is no harm done; a loss difference (nats per token, ± its paired standard error) "
    "within two errors of 0 is noise.\n"
    "Files are written in the dense format, zeros and all, so none is smaller: packing, computed "
    "here, is what would shrink them."
)


class Row(NamedTuple):
    """One model of the demonstration."""

    name: str
    scores: cupel.EvalResult
    disk: int
    packed: int
    seconds: float | None


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "demo",
        help="compress and evaluate the small model that comes with cupel",
        description="Compresses the small model that comes with cupel in several ways, evaluates "
        "each on text that it has not seen, and prints one table. Takes about a minute.",
    )
    parser.set_defaults(run=run)


def compressors() -> list[tuple[str, Any]]:
    """What the demonstration shows, by the name in its table."""
    import cupel

    rows = []
    for label, pattern in (("50 %", cupel.unstructured(0.5)), ("2:4", cupel.n_of_m(2, 4))):
        rows += [
            (f"magnitude {label}", cupel.Prune("magnitude", pattern)),
            (f"wanda {label}", cupel.Prune("wanda", pattern)),
            (f"sparsegpt {label}", cupel.SparseGpt(pattern)),
        ]
    for bits in (8, 4, 3, 2):
        grid = cupel.Grid(bits=bits, group=GROUP)
        rows.append((f"rtn {bits} bits", cupel.Rtn(grid)))
        if bits < 8:  # where rounding to nearest begins to cost something
            rows.append((f"gptq {bits} bits", cupel.Gptq(grid)))
    return rows


def measure(name: str, model: Any, tokenizer: Any, text: Path, seconds: float | None) -> Row:
    """Scores a model and writes it out to see how large it is."""
    import cupel

    from .sizes import packed_bytes

    # Windows as long as those it was trained on: positions beyond them it never saw.
    scores = cupel.evaluate(model, tokenizer, ["perplexity"], text=text, length=LENGTH)
    with tempfile.TemporaryDirectory(prefix="cupel-demo-") as folder:
        saved = Path(folder) / "model"
        cupel.save_model(model, saved)
        return Row(name, scores, cupel.weight_bytes_on_disk(saved), packed_bytes(saved), seconds)


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    import cupel

    from .. import touchstone

    folder = touchstone.folder()
    tokenizer = cupel.load_tokenizer(folder)
    heldout = folder / touchstone.HELDOUT
    model = cupel.load_model(folder)
    windows = cupel.sample_windows(
        folder / touchstone.CALIBRATION,
        tokenizer,
        samples=SAMPLES,
        length=min(LENGTH, model.config.max_positions),
    )
    rows = [measure("dense", model, tokenizer, heldout, None)]
    report(rows)
    for name, compressor in compressors():
        model = cupel.load_model(folder)
        # Losses of layers are not shown, so nothing is collected but what the method itself needs.
        result = cupel.compress(model, windows, compressor, measure_loss=False)
        rows.append(measure(name, model, tokenizer, heldout, result.seconds))
        report(rows)
    if sys.stderr.isatty():
        print(end="\r\x1b[K", file=sys.stderr)
    print(summary(rows, name_of(heldout), windows.numel()))
    return 0


def report(rows: list[Row]) -> None:
    """Says on stderr what is finished, on a terminal always in the same line."""
    text = f"{rows[-1].name} done ({len(rows)} of {len(compressors()) + 1})"
    if sys.stderr.isatty():
        print(end=f"\r\x1b[K{text}", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def summary(rows: list[Row], text: str, calibration_tokens: int) -> str:
    """The table and how to read it."""
    import cupel

    dense = rows[0].scores
    measured = dense.perplexities["perplexity"]
    cells = []
    for row in rows:
        cell = [row.name, f"{row.scores.perplexities['perplexity'].value:.4f}"]
        if row.scores is dense:
            cell += ["1", ""]
        else:
            paired = cupel.compare(dense, row.scores).perplexities[0]
            error = f"{paired.loss_difference:+.4f} ± {paired.standard_error:.4f}"
            cell += [f"{paired.ratio:.4f}", error]
        cell += [f"{row.disk:,}", f"{row.packed:,}" if row.packed else ""]
        cell += ["" if row.seconds is None else f"{row.seconds:.2f}"]
        cells.append(cell)
    how = (
        f"Perplexity of {text} (protocol {measured.protocol}, {measured.windows} windows of "
        f"{measured.length}); calibrated on {calibration_tokens:,} tokens; quantized in groups of {GROUP}."
    )
    return "\n".join([how, "", table(COLUMNS, cells), "", READING])
