"""Table 3 of LLM-KICK (arXiv 2310.01382) under its own rule, and what can be said of it without items."""

import csv
import json

import cupel
import pytest
from cupel.html_report import write_html_report
from grid_folder import made_grid, scores

# Cells of 15 that keep 95 % of the dense score; 25 of 60 in all.
MATCHING = {
    "factoid_qa_acc_pct": 5,
    "mmlu_acc": 7,
    "long_story_coherence": 7,
    "instruction_gpt4": 6,
}


@pytest.fixture
def paper(shared_path):
    return json.loads(shared_path("golden/paper_tables.json").read_text(encoding="utf-8"))


def means(values):
    """The text of a scores.json that holds means and no items, as a printed table does."""
    text = json.loads(scores({}))
    text["metrics"] = {task: {"paper": {"score": value}} for task, value in values.items()}
    return json.dumps(text)


def test_matching_cells_of_table_3(paper):
    counts = {}
    for task, methods in paper["table3"].items():
        counts[task] = sum(
            cupel.matching(dense, compressed)
            for dense, *others in methods.values()
            for compressed in others
        )
    assert counts == MATCHING and sum(counts.values()) == 25


def test_a_report_of_table_3_decides_nothing_without_items(paper, tmp_path):
    levels, table = paper["sparsity"], paper["table3"]

    def column(method, place):
        return means({task: methods[method][place] for task, methods in table.items()})

    methods = list(table["mmlu_acc"])
    cells = [
        ((method, "sparsity", level), column(method, place))
        for method in methods
        for place, level in list(enumerate(levels))[1:]
    ]
    folder = made_grid(tmp_path, column(methods[0], 0), cells, name="vicuna-7b")
    written = write_html_report(folder)
    with written["verdicts.csv"].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        values = table[row["task"]][row["method"]]
        place = levels.index(float(row["level"]))
        assert (float(row["dense"]), float(row["compressed"])) == (values[0], values[place])
        assert (row["verdict"], row["reason"]) == ("undecided", "no paired data")
        assert row["significant_loss"] == row["broken"] == "0"
    matching = dict.fromkeys(MATCHING, 0)
    for row in rows:
        matching[row["task"]] += int(row["score_matches"])
    assert matching == MATCHING
    page = written["index.html"].read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "No item was scored by both models, so no loss can be told from chance." in page
    assert "By the two scores alone 35 of 60 are below 95 % of the dense score." in page
    assert "undecided: no paired data" in page
    assert "No verdict can be given" in page and "never (to" not in page
