"""The report's other files: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from . import judged, model_tables, tables
from .analysis import Analysis
from .experiments import experiments
from .finding import head
from .onsets import all_series
from .table import Table
from .text import known, many, visible
from .words import caveats

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "–": "--", "∞": r"$\infty$", "→": r"$\to$", "×": r"$\times$", "≥": r"$\ge$",
    "<": r"\textless{}", ">": r"\textgreater{}", "↵": r"$\hookleftarrow$", "⇥": r"$\to$", "✓": r"$\checkmark$", "✕": r"$\times$",
}  # fmt: skip
MARKS = {"no": r"\textsuperscript{$\times$}", "open": r"\textsuperscript{?}"}


def markdown_text(text: object) -> str:
    """Text as Markdown shows it, markup and HTML switched off."""
    return "".join(f"\\{c}" if c in "\\`*_[]|<>#&" else c for c in visible(text))


def markdown(table: Table) -> str:
    """A table; columns but the first to the right."""
    heads = [markdown_text(column) for column in table.columns]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    rows = [[markdown_text(entry.text) for entry in row] for row in table.rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [heads, rule, *rows])


def make_markdown(made: Analysis) -> str:
    """report.md."""
    parts = [f"# {markdown_text(made.grid.name)}: what compression cost\n"]
    parts += [f"**{h}.** {markdown_text(s)}\n" for h, s in head(made)]
    sections: list[tuple[str, Table]] = [
        ("Where tasks break, and where perplexity shows it", tables.onset_table(made, all_series(made))),
        ("Does it keep 95 % of the dense score?", tables.verdict_matrix(made)),
        ("Every value", tables.comparison_table(made)),
        ("Grades of a judge", judged.judge_table(made)),
        ("Every perplexity", tables.perplexity_table(made)),
        *((part.title, part.table) for part in experiments(made)),
        *((f"Categories of {table.name}", table) for table in tables.category_tables(made)),
        ("Degenerate output", model_tables.flag_table(made)),
        ("Seeds", model_tables.seed_table(made)),
        ("What these data can tell apart", model_tables.resolution_table(made)),
        ("Sizes and times", model_tables.size_table(made)),
    ]  # fmt: skip
    if not made.grid.cells:
        sections.insert(0, ("Scores", model_tables.plain_scores(made)))
    for title, table in sections:
        if table.rows:
            parts += [f"## {markdown_text(title)}\n", markdown(table)]
    notes = caveats(made)
    if notes:
        parts += ["## Notes\n", "".join(f"- {markdown_text(note)}\n" for note in notes)]
    return "\n".join(parts)


def latex_text(text: object) -> str:
    """Text as LaTeX shows it."""
    return "".join(LATEX.get(c, c) for c in visible(text))


def latex(table: Table, caption: str, marked: bool = False) -> str:
    """A booktabs table; with `marked` scores that do not keep 95 % carry a sign."""
    rows = []
    for row in table.rows:
        cells = []
        for entry in row:
            sign = MARKS.get(entry.css, "") if marked else ""
            cells.append(latex_text(entry.text) + sign)
        rows.append(" & ".join(cells) + r" \\")
    head = " & ".join(map(latex_text, table.columns)) + r" \\"
    columns = "l" + "r" * (len(table.columns) - 1)
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def make_latex(made: Analysis) -> str:
    """report.tex: tables to \\input; needs booktabs and amssymb."""
    name = latex_text(made.grid.name)
    kinds = {"sparsity": "sparsity", "pattern": "n:m pattern", "bits": "bits a weight"}
    parts = ["% Tables of a cupel report; needs \\usepackage{booktabs,amssymb}.\n"]
    for table in model_tables.score_tables(made):
        parts.append(
            latex(
                table,
                f"Scores of {name} by {kinds[table.name]}. $\\times$: less than 95\\,\\% of the dense "
                "score is kept; ?: the items do not suffice to say (95\\,\\% confidence).",
                marked=True,
            )
        )
    onsets = tables.onset_table(made, all_series(made))
    if onsets.rows:
        parts.append(
            latex(
                onsets,
                f"Levels from which tasks of {name} break and from which perplexity shows it "
                f"(Holm over {many(made.tests, 'test')}).",
            )
        )
    losses = tables.perplexity_table(made)
    if losses.rows:
        parts.append(latex(losses, f"Perplexities of {name}, paired by blocks."))
    if not made.grid.cells:
        parts.append(latex(model_tables.plain_scores(made), f"Scores of {name}."))
    return "\n".join(parts)


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """RFC 4180 with plain line ends; numbers keep all their digits, no value is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            ["" if one is None or (isinstance(one, float) and not known(one)) else
             visible(one) if isinstance(one, str) else one for one in row]
        )  # fmt: skip
    return file.getvalue()


def make_cells(made: Analysis) -> str:
    """cells.csv: a row a model."""
    columns = [
        "cell", "label", "method", "kind", "level", "seed", "status", "why", "sparsity",
        "bits_per_weight", "weight_bytes", "packed_bytes", "parameters", "seconds_compress",
        "seconds_evaluate", "fingerprint",
    ]  # fmt: skip
    for task in made.perplexities:
        columns += [
            f"{name}:{made.label(task)}"
            for name in ("perplexity", "ratio", "ratio_low", "ratio_high")
        ]
    rows = []
    for cell in [*([made.grid.dense] if made.grid.dense else []), *made.grid.cells]:
        seconds = cell.record.get("seconds") or {}
        row: list[Any] = [cell.id, cell.label, cell.method, cell.kind, cell.level, cell.seed]
        row += [cell.status, cell.why]
        row += [cell.record.get(name) for name in columns[8:13]]
        row += [seconds.get("compress"), seconds.get("evaluate"), made.fingerprints.get(cell.id)]
        for task in made.perplexities:
            loss = made.loss(cell, task)
            own = (
                [loss.compressed, loss.ratio, loss.ratio_low, loss.ratio_high]
                if loss
                else [None] * 4
            )
            if (
                cell is made.grid.dense
                and made.dense is not None
                and task in made.dense.perplexities
            ):
                own = [made.dense.perplexities[task].value, 1.0, None, None]
            row += own
        rows.append(row)
    return write_csv(columns, rows)


def make_verdicts(made: Analysis) -> str:
    """verdicts.csv: a row a value of a task of a model."""
    columns = [
        "cell", "method", "kind", "level", "seed", "task", "label", "protocol", "metric", "headline", "items",
        "dense", "compressed", "difference", "standard_error", "low", "high", "p", "p_holm_grid",
        "right_to_wrong", "wrong_to_right", "changed_wrong", "minimum_detectable_effect", "kept",
        "score_matches", "verdict", "reason", "significant_loss", "broken",
    ]  # fmt: skip
    rows = []
    for row in made.rows:
        cell, flips = row.cell, row.flips
        counts = [None] * 3
        if flips is not None:
            counts = [flips.right_to_wrong, flips.wrong_to_right, flips.changed_wrong]
        rows.append(
            [
                cell.id, cell.method, cell.kind, cell.level, cell.seed, row.task,
                made.label(row.task), row.protocol, row.metric, int(row.headline), row.items, row.dense, row.compressed, row.difference,
                row.standard_error, row.low, row.high, row.p, row.p_grid, *counts, row.detectable,
                row.kept, int(row.point), row.verdict, row.reason, int(row.worse), int(row.broken),
            ]
        )  # fmt: skip
    return write_csv(columns, rows)
