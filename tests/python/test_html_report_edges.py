"""Reports of grids that are unfinished, damaged, tiny or hostile."""

import json
import math
import re

import cupel
import pytest
from cupel.html_report import write_html_report
from grid_folder import made_grid, scores, write_json
from report_page import Page, read_csv


def quiz(lost, items=100):
    return [float(lost <= i < 80) for i in range(items)]


def test_missing_failed_and_damaged_cells_are_named(tmp_path):
    cells = [
        (("wanda", "sparsity", 0.5), scores({"quiz": quiz(2)})),
        (("wanda", "sparsity", 0.6), ArithmeticError("a Cholesky factor failed")),
        (("wanda", "sparsity", 0.7), None),
        (("wanda", "sparsity", 0.8), '{"model": '),
    ]
    folder = made_grid(tmp_path, scores({"quiz": quiz(0)}), cells)
    write_html_report(folder)
    page = Page(folder / "report" / "index.html")
    states = {row[0][0]: row[1][0] for row in page.tables["Verdicts"][1:]}
    assert states["wanda 60 %"] == "failed" and states["wanda 70 %"] == "not run"
    assert states["wanda 80 %"] == "unreadable" and "97.5 %" in states["wanda 50 %"]
    assert "a Cholesky factor failed" in page.words()
    assert "1 more model failed. 1 more model has not run." in page.words()
    (row,) = page.tables["Levels from which tasks break"][1:]
    assert row[-1][0] == "60 %, 70 %, 80 %"
    (cell,) = [r for r in read_csv(folder / "report" / "cells.csv") if r["cell"] == "wanda-60-s0"]
    assert cell["status"] == "failed" and "Cholesky" in cell["why"]


def test_dense_not_finished(tmp_path):
    folder = made_grid(tmp_path, None, [(("wanda", "sparsity", 0.5), scores({"quiz": quiz(2)}))])
    write_html_report(folder)
    assert "there are no dense scores" in Page(folder / "report" / "index.html").words()


def test_evaluations_that_do_not_pair_keep_their_scores(tmp_path):
    """Other items: compare() refuses, the rule on the two scores is all that is left."""
    cells = [(("wanda", "sparsity", 0.5), scores({"quiz": quiz(2, items=90)}))]
    folder = made_grid(tmp_path, scores({"quiz": quiz(0)}), cells)
    write_html_report(folder)
    (row,) = read_csv(folder / "report" / "verdicts.csv")
    assert row["verdict"] == "undecided" and row["reason"].startswith("not comparable: [compare]")
    assert row["p"] == row["low"] == "" and row["broken"] == "0"
    assert "Not compared: [compare]" in Page(folder / "report" / "index.html").words()


@pytest.mark.parametrize("items", [1, 2])
def test_hardly_any_items(tmp_path, items):
    cells = [(("wanda", "sparsity", 0.5), scores({"quiz": [0.0] * items}, [2.5]))]
    folder = made_grid(tmp_path, scores({"quiz": [1.0] * items}, [2.0]), cells)
    write_html_report(folder)
    page = Page(folder / "report" / "index.html")
    assert "No task is broken" in page.words()
    assert page.tables["All perplexities"][1][-1][0] == "one block"


@pytest.mark.parametrize("loss", [0.2, 1.5])
def test_values_that_are_not_right_or_wrong(tmp_path, loss):
    dense = [7.0 + (i % 3) for i in range(60)]
    cell = [value - loss + (i % 7 - 3) / 2 for i, value in enumerate(dense)]
    folder = made_grid(
        tmp_path, scores({"talk": dense}), [(("wanda", "sparsity", 0.5), scores({"talk": cell}))]
    )
    write_html_report(folder)
    (row,) = read_csv(folder / "report" / "verdicts.csv")
    # The same test by hand: the mean difference against its bootstrap error.
    z = float(row["difference"]) / float(row["standard_error"])
    assert float(row["p"]) == pytest.approx(max(math.erfc(-z / 2**0.5), 2.0**-59), rel=1e-9)
    assert (float(row["p"]) > 1e-3) == (loss == 0.2)
    assert row["right_to_wrong"] == "" and row["broken"] == str(int(loss == 1.5))


def test_a_dense_score_of_zero(tmp_path):
    cells = [(("wanda", "sparsity", 0.5), scores({"quiz": quiz(0), "hard": [0.0] * 100}))]
    folder = made_grid(tmp_path, scores({"quiz": quiz(0), "hard": [0.0] * 100}), cells)
    write_html_report(folder)
    page = Page(folder / "report" / "index.html")
    assert "dense 0" in [cell[0] for cell in page.tables["Verdicts"][1]]
    rows = {row["task"]: row["verdict"] for row in read_csv(folder / "report" / "verdicts.csv")}
    assert rows["hard"] == "" and rows["quiz"] == "matching"  # 95 % of nothing is no demand
    said = "".join(page.text)
    assert "1 matching" in said and "1 have none" in said


HOSTILE = '<script>alert("x")</script>\x00\u202e</td>\n|`$\\end{table}\ud800' + "long " * 400


def test_foreign_text_stays_text(tmp_path):
    """Predictions, names and categories may hold anything."""
    bad = json.dumps(HOSTILE)
    text = scores({"quiz": [(1.0, "yes")] * 50}, categories=["a", "b"])
    worse = scores({"quiz": [(0.0, "EVIL")] * 50}, categories=["a", "b"])
    replace = [('"EVIL"', bad.replace("\\ud800", "")), ('"a"', '"<b>a\\u0007"')]
    for old, new in [
        *replace,
        ("accuracy/a", "accuracy/<b>a\\u0007"),
        ("items/a", "items/<b>a\\u0007"),
    ]:
        text, worse = text.replace(old, new), worse.replace(old, new)
    folder = made_grid(
        tmp_path, text, [(("wa<i>nda", "sparsity", 0.5), worse)], name=HOSTILE.replace("long ", "")
    )
    write_html_report(folder)
    page = Page(folder / "report" / "index.html")
    for raw in ("<script>alert", "<b>a", "<i>nda", "\x00", "\x07", "\u202e"):
        assert raw not in page.source, raw
    words = page.words()
    assert r"\u{0}\u{202e}" in words and r"\u{d800}" in words
    assert re.search(r"\[…1,\d{3} more characters\]", words)
    assert len(page.scripts) == 1
    markdown = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in re.sub(r"\\(.)", "", markdown)
    latex = (folder / "report" / "report.tex").read_text(encoding="utf-8")
    assert "\\end{table}\\" not in latex and latex.count("\\end{table}") == latex.count(
        "\\begin{table}"
    )


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(ValueError, match="which has neither"):
        write_html_report(tmp_path)
    with pytest.raises(ValueError, match="must be a folder"):
        write_html_report(tmp_path / "none")
    folder = made_grid(tmp_path / "empty", None, [(("wanda", "sparsity", 0.5), None)])
    with pytest.raises(ValueError, match="1 cells in .* none of them finished"):
        write_html_report(folder)
    assert not (folder / "report").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cupel_kick": 2}, "cupel_kick must be 1. Got 2"),
        ({"cells": [{"id": "a"}]}, r"cells\[0\] must have id, method, kind and level"),
        ({"cells": [{"id": "../a", "method": "m", "kind": "bits", "level": 4}]}, "a file name"),
        ({"cells": [{"id": "a", "method": "m", "kind": "x", "level": 4}]}, "must have a kind of"),
    ],
)
def test_a_kick_json_that_is_none(tmp_path, change, message):
    folder = made_grid(tmp_path, scores({"quiz": quiz(0)}), [])
    kick = json.loads((folder / "kick.json").read_text())
    write_json(folder / "kick.json", kick | change)
    with pytest.raises(cupel.FormatError, match=message):
        write_html_report(folder)
    (folder / "kick.json").write_text("{")
    with pytest.raises(cupel.FormatError, match="is no JSON text"):
        write_html_report(folder)
