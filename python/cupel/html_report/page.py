"""The HTML page: one file that needs nothing else, neither a network nor JavaScript."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import charts, judged, model_tables, provenance, tables
from .analysis import Analysis
from .examples import examples
from .experiments import experiments
from .finding import head
from .onsets import all_series, main_keys
from .text import many, visible
from .words import caveats

TEMPLATES = Path(__file__).resolve().parent / "templates"


def finalize(value: Any) -> Any:
    """Every text that goes into the page is made visible first, then escaped. Units stay with their
    numbers."""
    if isinstance(value, Markup):
        return value
    text = visible(value)
    for unit in ("%", "bits", "bit"):
        text = text.replace(f" {unit}", f"\u00a0{unit}")
    return text.replace("seed ", "seed\u00a0")


def environment() -> Environment:
    """Templates that escape what they are given and stop at a name they do not know."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def asset(name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def sha256_source(text: str) -> str:
    """How a Content-Security-Policy names a script, so that no other one can run."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def make_page(made: Analysis, version: str) -> str:
    """index.html."""
    keys, main = list(made.headlines), main_keys(made)
    others = [key for key in keys if key not in main]
    script = asset("sort.js")
    series = all_series(made)
    return (
        environment()
        .get_template("index.html")
        .render(
            style=asset("style.css"),
            script=script,
            policy=Markup(sha256_source(script)),
            version=version,
            made=made,
            many=many,
            tests=f"all {many(made.tests, 'test')}" if made.tests > 1 else many(made.tests, "test"),
            name=made.grid.name,
            paragraphs=head(made),
            onsets=tables.onset_table(made, series),
            sparsity=charts.sparsity_panels(made, main),
            more_sparsity=charts.sparsity_panels(made, others),
            perplexity=charts.perplexity_panels(made),
            forest=charts.forest_panels(made, main),
            more_forest=charts.forest_panels(made, others),
            sparsity_legend=charts.legend(made, ("sparsity",)),
            forest_legend=charts.legend(made, ("pattern", "bits", "model", "single")),
            matrix=tables.verdict_matrix(made),
            comparisons=tables.comparison_table(made),
            perplexities=tables.perplexity_table(made),
            flips=tables.flip_table(made),
            examples=examples(made),
            judges=judged.judge_table(made),
            categories=tables.category_tables(made),
            experiments=experiments(made),
            flags=model_tables.flag_table(made),
            seeds=model_tables.seed_table(made),
            resolution=model_tables.resolution_table(made),
            sizes=model_tables.size_table(made),
            scores=model_tables.plain_scores(made) if not made.grid.cells else None,
            caveats=caveats(made),
            settings=provenance.settings_table(made),
            tasks=provenance.task_table(made),
            models=provenance.model_table(made),
            environments=provenance.environment_table(made),
        )
    )
