"""A judge for all models of a grid, and its grades in the report."""

import csv
import json

import cupel
import pytest
from cupel import touchstone
from judge_helpers import write_jsonl

QUESTIONS = 12


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    data = write_jsonl(
        folder / "question.jsonl",
        [
            {"question_id": i, "category": "ab"[i % 2], "turns": [f"Where is place {i}?", "Why?"]}
            for i in range(QUESTIONS)
        ],
    )
    cupel.kick(
        touchstone.folder(),
        folder / "out",
        methods=["magnitude"],
        sparsity=[0.1, 0.9],
        tasks=[f"instruction:file={data},template=none,max_new_tokens=8", "perplexity"],
        text=str(touchstone.folder() / "heldout.txt"),
        limit=QUESTIONS,
    )
    return folder / "out"


ASKED = []


def grade(request):
    """Longer answers get more, so that grades differ where answers do."""
    ASKED.append(request.prompt)
    return f"[[{1 + len(request.answers[-1]) % 10}]]"


def test_equal_answers_are_graded_once_and_a_second_pass_asks_nothing(grid):
    ASKED.clear()
    results = cupel.judge_grid(grid, grade)
    assert list(results) == ["dense", "magnitude-10", "magnitude-90"]
    assert len(ASKED) == len(set(ASKED)) and len(ASKED) < 3 * 2 * QUESTIONS
    for name, result in results.items():
        folder = grid / ("dense" if name == "dense" else f"cells/{name}") / "judged" / "single"
        assert result.complete and (folder / "scores.json").is_file()
    ASKED.clear()
    repeated = cupel.judge_grid(grid, grade)
    assert ASKED == []
    assert repeated["magnitude-90"].scores.metrics == results["magnitude-90"].scores.metrics


def test_the_report_shows_grades_errors_and_both_answers(grid, tmp_path):
    cupel.judge_grid(grid, grade)
    files = cupel.write_html_report(grid, tmp_path / "report")
    page = files["index.html"].read_text()
    assert "Grades of a judge" in page and "instruction, judged" in page
    rows = list(csv.DictReader(files["verdicts.csv"].open()))
    own = {row["cell"]: row for row in rows if row["task"] == "instruction, judged"
           and row["metric"] == "score"}  # fmt: skip
    dense = cupel.EvalResult.from_json((grid / "dense/judged/single/scores.json").read_text())
    broken = cupel.EvalResult.from_json(
        (grid / "cells/magnitude-90/judged/single/scores.json").read_text()
    )
    mean = [one.metrics["instruction"]["single"]["score"] for one in (dense, broken)]
    row = own["magnitude-90"]
    assert float(row["dense"]) == mean[0] and float(row["compressed"]) == mean[1]
    assert int(row["items"]) == QUESTIONS and row["headline"] == "1"
    # The answers that changed stand side by side, with the grades they got.
    before = cupel.KickResult(grid).dense.scores.items("instruction", "strict")
    changes = [
        (a, b)
        for a, b in zip(dense.items("instruction", "single"),
                        broken.items("instruction", "single"), strict=True)
        if b.values["score"] < a.values["score"]
    ]  # fmt: skip
    worst = min(changes, key=lambda pair: pair[1].values["score"] - pair[0].values["score"])
    assert f"score {worst[0].values['score']:.4g} → {worst[1].values['score']:.4g}" in page
    shown = next(item.prediction for item in before if item.id == worst[0].id)
    assert shown.split("\n")[0][:20] in page
    assert "Grades of a judge" in files["report.md"].read_text()


def test_pairs_put_each_cell_beside_the_dense_model(grid, tmp_path):
    results = cupel.judge_grid(
        grid, lambda request: "[[B]]" if len(request.answers[0]) == 0 else "[[A]]", mode="pairwise"
    )
    assert list(results) == ["magnitude-10", "magnitude-90"]
    metrics = results["magnitude-10"].scores.metrics["instruction"]["pairwise"]
    assert metrics["pairs"] > 0 and 0 <= metrics["win"] <= 1
    page = cupel.write_html_report(grid, tmp_path / "r")["index.html"].read_text()
    assert f"{metrics['pairs_inconsistent']:,.0f} of {metrics['pairs']:,.0f} pairs" in page


def test_grades_of_another_judge_are_not_compared(grid, tmp_path):
    cupel.judge_grid(grid, grade)
    path = grid / "cells/magnitude-90/judged/single/scores.json"
    was = path.read_text()
    scores = json.loads(was)
    for manifest in scores["manifests"].values():
        manifest["options"]["judge.name"] = "someone"
    path.write_text(json.dumps(scores))
    try:
        page = cupel.write_html_report(grid, tmp_path / "r")["index.html"].read_text()
    finally:
        path.write_text(was)
    assert "Grades were not compared" in page


def test_a_queue_has_a_folder_for_each_model(grid, tmp_path):
    queue = cupel.QueueJudge(tmp_path / "queue")
    first = cupel.judge_grid(grid, queue, mode="pairwise")
    assert all(result.pending for result in first.values())
    for name in first:
        folder = tmp_path / "queue" / name
        lines = (folder / "requests.jsonl").read_text().splitlines()
        replies = [{"id": json.loads(line)["id"], "text": "[[C]]"} for line in lines]
        write_jsonl(folder / "replies.jsonl", replies)
    second = cupel.judge_grid(grid, queue, mode="pairwise")
    for result in second.values():
        assert result.complete
        assert result.scores.metrics["instruction"]["pairwise"]["win"] == 0.5


def test_the_command_judges_a_grid(grid, command, tmp_path):
    queue = tmp_path / "q"
    done = command("judge", grid, "--judge", f"queue:{queue}", "--mode", "pairwise")
    assert done.returncode == 1 and f"{queue}/magnitude-10/replies.jsonl" in done.stderr
    done = command("judge", grid, "--judge", "queue:q", "--against", grid / "dense")
    assert done.returncode == 2 and "leave --against out" in done.stderr
