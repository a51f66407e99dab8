"""Results of an evaluation as pandas tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

    import cupel


COLUMNS = ["task", "protocol", "item", "category", "prediction", "gold", "flags"]


def to_pandas(result: cupel.EvalResult, items: bool = False) -> pandas.DataFrame:
    """The metrics of `result`, or its items, as a DataFrame.

    Args:
        result: From evaluate().
        items: False: a row a metric, with the columns task, protocol, metric, category ("" for all
            items) and value. True: a row an item and protocol, with the columns task, protocol, item,
            category, prediction, gold and flags, and one for each value (NaN where an item has none).
            Perplexities have metrics only; their blocks are in `.perplexities`.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError:
        raise ImportError(
            "[to_pandas] pandas is needed and not installed: pip install pandas; to_json() and "
            "to_markdown() work without it."
        ) from None
    if items:
        rows = item_rows(result)
        return pandas.DataFrame(rows, columns=None if rows else COLUMNS)
    rows = []
    for task, protocols in result.metrics.items():
        for protocol, values in protocols.items():
            for name, value in values.items():
                metric, _, category = name.partition("/")
                rows.append((task, protocol, metric, category, value))
    return pandas.DataFrame(rows, columns=["task", "protocol", "metric", "category", "value"])


def item_rows(result: cupel.EvalResult) -> list[dict[str, object]]:
    """A dict for each item and protocol."""
    rows = []
    for task, manifest in result.manifests.items():
        if task in result.perplexities:
            continue
        for protocol in manifest.protocols:
            for score in result.items(task, protocol):
                cells = (task, protocol, score.id, score.category, score.prediction, score.gold)
                row = dict(zip(COLUMNS, (*cells, " ".join(score.flags)), strict=True))
                rows.append(row | score.values)
    return rows
