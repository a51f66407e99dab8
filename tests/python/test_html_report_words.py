"""The paragraphs at the head of a report say what the numbers say, and change when they do."""

import pytest
from cupel.html_report.analysis import analyse
from cupel.html_report.grid import read_grid
from cupel.html_report.onsets import all_series
from cupel.html_report.words import paragraphs
from grid_folder import made_grid, scores

ITEMS, RIGHT = 200, 160


def quiz(lost=0, items=ITEMS, right=RIGHT):
    """Values of a quiz on which `lost` of the right answers became wrong."""
    return [float(lost <= i < right) for i in range(items)]


def losses(rise=0.0):
    """Nats per token of 12 windows that all rise by about as much."""
    return [2 + 0.1 * (i % 5) + rise * (1 + 0.1 * (i % 3 - 1)) for i in range(12)]


def grid(folder, levels, kind="sparsity", dense_losses=True, method="wanda"):
    """levels: level -> (lost answers of `quiz`, of `facts`, rise of the loss)."""
    texts = [
        (
            (method, kind, level),
            scores({"quiz": quiz(a), "facts": quiz(b)}, losses(rise) if dense_losses else None),
        )
        for level, (a, b, rise) in levels.items()
    ]
    dense = scores({"quiz": quiz(), "facts": quiz()}, losses() if dense_losses else None)
    return analyse(read_grid(made_grid(folder, dense, texts)))


def words(made):
    return dict(paragraphs(made))


def test_nothing_broken(tmp_path):
    said = words(grid(tmp_path, {0.3: (0, 0, 0.0), 0.5: (1, 0, 0.001)}))
    assert (
        said["What was compared"]
        == (
            "2 compressed models of made-up (wanda) against the dense model on facts (accuracy), quiz "
            "(accuracy) and perplexity, item by item."
        )
        or "quiz (accuracy)" in said["What was compared"]
    )
    assert "No task is broken in any of 2 models" in said["What breaks first"]
    assert "neither happened in 2" in said["What perplexity shows"]
    assert (
        "4 matching (95 % of the dense score is kept), 0 not matching, 0 undecided."
        in said["How certain this is"]
    )


def test_everything_broken_at_once(tmp_path):
    said = words(grid(tmp_path, {0.3: (90, 90, 0.5), 0.5: (120, 120, 0.9)}))
    assert "Pruning breaks both tasks at 30 % with wanda." in said["What breaks first"]
    assert "both came at the same level in 2" in said["What perplexity shows"]
    assert "0 matching" in said["How certain this is"]


def test_knowledge_first(tmp_path):
    made = grid(tmp_path, {0.3: (40, 0, 0.005), 0.5: (60, 40, 0.01), 0.7: (90, 90, 0.9)})
    said = words(made)
    assert "Pruning breaks quiz first, at 30 % with wanda." in said["What breaks first"]
    assert "facts is broken from 50 % with wanda." in said["What breaks first"]
    assert (
        "Of 2 pairs of a method and a task, the task was broken while perplexity was still less than "
        "5 % up in 2." in said["What perplexity shows"]
    )
    assert "a flat perplexity does not mean that nothing is lost" in said["What perplexity shows"]
    # The small but even rise is seen by the paired interval all the same.
    assert "had left 1 by the level that broke the task in 2 of 2" in said["What perplexity shows"]
    (quiz_series,) = [one for one in all_series(made) if one.key[0] == "quiz"]
    assert (quiz_series.broken.level, quiz_series.steep.level) == ("30 %", "70 %")
    assert quiz_series.first == "task"


def test_perplexity_first(tmp_path):
    said = words(grid(tmp_path, {0.3: (0, 0, 0.2), 0.5: (1, 0, 0.4), 0.7: (90, 0, 0.9)}))
    assert "Pruning breaks quiz first, at 70 % with wanda." in said["What breaks first"]
    assert "facts is not broken at any level (up to 70 %)." in said["What breaks first"]
    assert "while the task was not yet broken in 2" in said["What perplexity shows"]
    assert "Here perplexity warns before the tasks do." in said["What perplexity shows"]


def test_undecided(tmp_path):
    few = {"quiz": [1.0] * 8 + [0.0] * 2}
    cell = {"quiz": [0.0] + [1.0] * 7 + [0.0] + [1.0]}
    folder = made_grid(
        tmp_path,
        scores(few),
        [(("wanda", "sparsity", level), scores(cell)) for level in (0.3, 0.5)],
    )
    said = words(analyse(read_grid(folder)))
    assert "2 undecided" in said["How certain this is"]
    assert "Most verdicts are open" in said["How certain this is"]
    assert said["What perplexity shows"] == "No perplexity was measured."


def test_a_significant_loss_may_be_small(tmp_path):
    """5 % of the dense score is the limit of a broken task, not of a significant loss."""
    dense = {"quiz": quiz(items=1000, right=900)}
    cell = {"quiz": quiz(30, items=1000, right=900)}
    folder = made_grid(tmp_path, scores(dense), [(("wanda", "sparsity", 0.5), scores(cell))])
    made = analyse(read_grid(folder))
    (row,) = [row for row in made.rows if row.headline]
    assert row.worse and not row.broken and row.point
    assert "1 significant loss stay" in words(made)["What breaks first"]


@pytest.mark.parametrize(("tests", "broken"), [(12, True), (14, False)])
def test_among_many_tests_one_verdict_is_not_enough(tmp_path, tests, broken):
    """9 answers of 100 become wrong, p = 2 / 512: its own interval is below 95 % of the dense score."""
    dense = scores({"quiz": quiz(items=100, right=70)})
    cells = [
        (("wanda", "sparsity", level / 20), scores({"quiz": quiz(lost, items=100, right=70)}))
        for level, lost in enumerate([0] * (tests - 1) + [9], start=1)
    ]
    made = analyse(read_grid(made_grid(tmp_path, dense, cells)))
    (row,) = [row for row in made.rows if row.verdict == "not matching"]
    assert made.tests == tests and row.p_grid == pytest.approx(tests * 2 / 512)
    assert row.broken == broken
    said = words(made)["How certain this is"]
    assert ("Of those not matching, 1 is not called broken" in said) != broken


def test_levels_that_are_not_monotone_and_missing_ones_are_named(tmp_path):
    made = grid(
        tmp_path, {0.3: (60, 0, 0), 0.5: (0, 0, 0), 0.7: (90, 0, 0)}, dense_losses=False
    )  # fmt: skip
    one = next(one for one in all_series(made) if one.key[0] == "quiz")
    assert (one.broken.level, one.broken.again) == ("30 %", "50 %")
    assert one.first == ""


@pytest.mark.parametrize(("seeds", "level"), [((90, 0), ""), ((90, 60), "50 %")])
def test_a_level_counts_when_every_seed_says_so(tmp_path, seeds, level):
    dense = scores({"quiz": quiz()})
    cells = [
        (("wanda", "sparsity", 0.5, seed), scores({"quiz": quiz(lost)}))
        for seed, lost in enumerate(seeds)
    ]
    (one,) = all_series(analyse(read_grid(made_grid(tmp_path, dense, cells))))
    assert one.broken.level == level


def test_bits_count_down_and_patterns_are_listed(tmp_path):
    dense = scores({"quiz": quiz()})
    cells = [
        (("gptq", "bits", bits), scores({"quiz": quiz(lost)}))
        for bits, lost in ((2, 100), (3, 70), (8, 0), (4, 0))
    ] + [
        (("wanda", "pattern", pattern), scores({"quiz": quiz(lost)}))
        for pattern, lost in (("2:4", 80), ("4:8", 0), ("1:4", 120))
    ]
    made = analyse(read_grid(made_grid(tmp_path, dense, cells)))
    said = words(made)["What breaks first"]
    assert "Quantizing breaks quiz at 3 bits with gptq." in said
    assert "n:m patterns break quiz at 1:4, 2:4 with wanda." in said


def test_many_tasks_are_counted_and_not_told_one_by_one(tmp_path):
    names = [f"task{i}" for i in range(8)]
    cells = [
        (("wanda", kind, level), scores({n: quiz(90 if n < name else 0) for n in names}, losses()))
        for kind, level, name in (("sparsity", 0.3, "task1"), ("sparsity", 0.5, "task7"), ("pattern", "2:4", "task3"))
    ]  # fmt: skip
    dense = scores({name: quiz() for name in names}, losses())
    said = words(analyse(read_grid(made_grid(tmp_path, dense, cells))))["What breaks first"]
    assert said == (
        "Pruning breaks task0 first, at 30 % with wanda. 1 of the 8 tasks is not broken at any level (up "
        "to 50 %). n:m patterns break 3 of 8 tasks with one method at least."
    )
