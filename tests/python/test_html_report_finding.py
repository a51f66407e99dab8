"""The paragraph in plain words: true of its numbers whatever they are."""

import json
import math
import random

import pytest
from cupel.html_report.analysis import analyse
from cupel.html_report.finding import finding, head, smallest_difference
from cupel.html_report.grid import read_grid
from grid_folder import made_grid, scores

ITEMS, RIGHT = 200, 160


def answers(lost=0, right=RIGHT):
    """Values of a task on which `lost` of the right answers became wrong."""
    return [float(lost <= i < right) for i in range(ITEMS)]


def losses(rise=0.0):
    """Nats per token of 12 windows that all rise by about as much."""
    return [2 + 0.1 * (i % 5) + rise * (1 + 0.1 * (i % 3 - 1)) for i in range(12)]


def made(folder, cells, dense=None, tasks=("quiz", "facts"), perplexity=True, **more):
    """The analysis of a made-up grid.

    cells: ((method, kind, level), (lost answers of each task, rise of the loss)), or an exception.
    """
    dense = dense or {task: answers() for task in tasks}
    texts = []
    for cell, found in cells:
        if not isinstance(found, Exception):
            *lost, rise = found
            values = {
                task: [max(0.0, value - (i < count)) for i, value in enumerate(dense[task])]
                for (task, count) in zip(tasks, lost, strict=True)
            }
            found = scores(values, losses(rise) if perplexity else None)
        texts.append((cell, found))
    whole = scores(dense, losses() if perplexity else None)
    return analyse(read_grid(made_grid(folder, whole, texts, **more)))


def pruned(*levels):
    return [(("wanda", "sparsity", level), found) for level, *found in levels]


def test_what_perplexity_hides(tmp_path):
    said = finding(
        made(tmp_path, pruned((0.3, 0, 0, 0.0), (0.4, 90, 0, 0.01), (0.5, 120, 70, 0.5)))
    )
    assert said.startswith(
        "By perplexity 2 of 3 models look unharmed (less than 5 % up), yet a task is broken (significantly "
        "lower, and below 95 % of the dense score) in 1 of them; the largest such loss is quiz with "
        "wanda 40 %, from 0.800 to 0.350 at 1.010 times the dense perplexity. "
    )
    assert "warns" not in said  # where it is up, tasks are broken
    kept = (1 + 70 / 160 + 40 / 160) / 3, (1 + 1 + 90 / 160) / 3
    assert (
        f"Over 3 models quiz keeps least ({100 * kept[0]:.0f} % of its dense score, broken in 2 of 3), "
        f"facts most ({100 * kept[1]:.0f} % of its dense score, broken in 1 of 3)."
    ) in said
    assert "Pruning breaks its first task at 40 % with wanda." in said
    assert "0 of 6 verdicts stay undecided; a difference below 0.0" in said


def test_perplexity_warns_first(tmp_path):
    said = finding(made(tmp_path, pruned((0.3, 0, 0, 0.1), (0.5, 0, 1, 0.3))))
    assert said.startswith(
        "No task is broken (significantly lower, and below 95 % of the dense score) in"
    )
    assert (
        "any of 2 models. By perplexity no model looks unharmed: it is 5 % up or more in all 2 models."
        in said
    )
    assert "In all of the 2 models where it is 5 % up or more no task is broken" in said
    assert "keeps least" not in said and "first task" not in said


def test_perplexity_and_tasks_agree(tmp_path):
    said = finding(made(tmp_path, pruned((0.3, 0, 0, 0.0), (0.5, 100, 100, 0.5), (0.6, 0, 0, 0.2))))
    assert "1 of 3 models looks unharmed (less than 5 % up), and no task is broken in it." in said
    assert "In 1 of the 2 models where it is 5 % up or more no task is broken" in said


def test_nothing_is_significant(tmp_path):
    said = finding(made(tmp_path, pruned((0.3, 1, 2, 0.0), (0.5, 3, 0, 0.001))))
    assert "No task is broken" in said and "in any of 2 models" in said
    assert (
        "2 of 2 models look unharmed (less than 5 % up), and no task is broken in any of them"
        in said
    )


def test_significant_losses_that_stay_small(tmp_path):
    said = finding(
        made(
            tmp_path,
            pruned((0.5, 8, 0, 0.0)),
            dense={"quiz": answers(right=200), "facts": answers()},
        )
    )
    row = "1 significant loss stays above 95 %."
    assert ("No task is broken" in said) and (row in said)


@pytest.mark.parametrize("right", [30, 50, 58])
def test_a_dense_model_that_guesses(right, tmp_path):
    dense = {"mmlu": answers(right=right), "facts": answers()}
    said = finding(
        made(tmp_path, pruned((0.5, right, 90, 0.0)), dense=dense, tasks=("mmlu", "facts"))
    )
    assert (
        "The dense model does no better than guessing on mmlu, so nothing can be lost there."
        in said
    )
    assert "the largest such loss is facts" in said and "keeps least" not in said
    dense["mmlu"] = answers(right=80)
    said = finding(
        made(tmp_path / "2", pruned((0.5, 80, 90, 0.0)), dense=dense, tasks=("mmlu", "facts"))
    )
    assert "guessing" not in said and "the largest such loss is mmlu" in said


def test_a_dense_model_that_solves_nothing(tmp_path):
    dense = {"quiz": [0.0] * ITEMS, "facts": [0.0] * ITEMS}
    said = finding(made(tmp_path, pruned((0.5, 0, 0, 0.0)), dense=dense))
    assert "The dense model scores nothing on quiz and facts" in said or "on facts and quiz" in said
    assert (
        "No task with items can tell what was lost. By perplexity 1 of 1 model looks unharmed"
        in said
    )
    assert "verdict" not in said


def test_one_level(tmp_path):
    cells = [
        (("wanda", "sparsity", 0.5), (90, 0, 0.0)),
        (("magnitude", "sparsity", 0.5), (90, 90, 0.5)),
    ]
    said = finding(made(tmp_path, cells))
    assert (
        "At 50 %, the one level, wanda breaks 1 of 2 tasks and magnitude breaks 2 of 2 tasks."
        in said
    )
    assert "first task" not in said


def test_quantizers_only(tmp_path):
    cells = [
        (("rtn", "bits", 4), (0, 0, 0.0)), (("rtn", "bits", 3), (90, 0, 0.1)),
        (("gptq", "bits", 4), (0, 0, 0.0)), (("gptq", "bits", 3), (0, 0, 0.0)),
    ]  # fmt: skip
    said = finding(made(tmp_path, cells))
    assert "Quantizing breaks its first task at 3 bits with rtn, and none with gptq." in said
    assert "Pruning" not in said
    assert (
        "3 of 4 models look unharmed (less than 5 % up), and no task is broken in any of them"
        in said
    )


def test_patterns(tmp_path):
    cells = [
        (("wanda", "pattern", "2:4"), (90, 90, 0.0)),
        (("wanda", "pattern", "4:8"), (90, 0, 0.0)),
        (("sparsegpt", "pattern", "2:4"), (0, 0, 0.0)),
    ]
    said = finding(made(tmp_path, cells))
    assert "At 2:4 wanda breaks 2 of 2 tasks and sparsegpt breaks 0 of 2 tasks." in said
    assert "At 4:8 wanda breaks 1 of 2 tasks." in said


def test_without_perplexity_and_with_cells_that_failed(tmp_path):
    cells = [*pruned((0.3, 0, 0, 0.0), (0.5, 90, 0, 0.0)), (("rtn", "bits", 2), ValueError("no"))]
    said = finding(made(tmp_path, cells, perplexity=False))
    assert "No perplexity was measured. A task is broken (" in said
    assert ") in 1 of 2 models." in said
    assert said.endswith("1 model without results is left out.")


def test_several_perplexities_each_have_a_sentence(tmp_path):
    folder = tmp_path / "grid"
    made(folder, pruned((0.5, 90, 0, 0.0)))
    for part, rise in (("dense", 0.0), ("cells/wanda-0.5-s0", 0.4)):
        (file,) = folder.glob(f"{part.replace('wanda-0.5-s0', '*')}/scores.json")
        found = json.loads(file.read_text())
        one = found["perplexities"].pop("perplexity")
        other = dict(one, window_losses=[loss + rise for loss in one["window_losses"]])
        other["perplexity"] *= math.exp(rise)
        manifest = found["manifests"].pop("perplexity")
        found["perplexities"] = {"perplexity:file=b": one, "perplexity:file=a": other}
        found["manifests"] |= {"perplexity:file=b": manifest, "perplexity:file=a": manifest}
        file.write_text(json.dumps(found))
    kick = json.loads((folder / "kick.json").read_text())
    kick["tasks"] = ["quiz", "facts", "perplexity:file=b", "perplexity:file=a"]
    kick["shown"] = {
        "perplexity:file=b": {"label": "perplexity of stories"},
        "perplexity:file=a": {"label": "facts text"},
        "quiz": {"label": "a quiz"},
    }
    (folder / "kick.json").write_text(json.dumps(kick))
    said = finding(analyse(read_grid(folder)))
    assert said.startswith("By perplexity of stories 1 of 1 model looks unharmed")
    assert "the largest such loss is a quiz with" in said
    assert (
        "By the perplexity facts text no model looks unharmed: it is 5 % up or more in the one model."
        in said
    )


def test_no_grid_no_paragraph(tmp_path):
    analysis = made(tmp_path, pruned((0.5, 90, 0, 0.0)))
    assert head(analysis)[0] == ("In short", finding(analysis))
    analysis.grid.kick = {}
    assert finding(analysis) == "" and head(analysis)[0][0] != "In short"


def test_the_smallest_difference_is_that_of_the_rule(tmp_path):
    analysis = made(tmp_path, pruned((0.3, 2, 0, 0.0), (0.4, 90, 0, 0.0), (0.5, 60, 0, 0.0)))
    sizes = sorted(
        max(2.8 * row.standard_error, 6 / ITEMS) for row in analysis.rows if row.task == "quiz"
    )
    assert smallest_difference(analysis, ("quiz", "strict")) == sizes[1] > 6 / ITEMS
    assert smallest_difference(analysis, ("facts", "strict")) == 6 / ITEMS  # nothing changed


def test_its_counts_are_those_of_the_table(tmp_path):
    rng = random.Random(3)
    for number in range(12):
        cells = [
            ((method, kind, level), (rng.choice([0, 3, 20, 90]), rng.choice([0, 0, 60]), rng.choice([0.0, 0.2])))
            for method in ("wanda", "magnitude")
            for kind, level in (("sparsity", 0.3), ("sparsity", 0.6), ("pattern", "2:4"))
        ]  # fmt: skip
        analysis = made(tmp_path / str(number), cells)
        said = finding(analysis)
        broken = {row.cell.id for row in analysis.rows if row.broken}
        flat = {loss.cell.id for loss in analysis.losses if loss.ratio < 1.05}
        steep = {loss.cell.id for loss in analysis.losses} - flat
        if flat:
            assert f"By perplexity {len(flat)} of 6 models look" in said
        if broken & flat:
            among = "in it;" if len(flat) == 1 else f"in {len(broken & flat)} of them;"
            assert among in said
            worst = min(
                (row for row in analysis.rows if row.broken and row.cell.id in flat),
                key=lambda row: row.kept,
            )
            assert f"loss is {worst.task} with {worst.cell.name}, from" in said or worst.kept == 0
        assert ("there perplexity warns" in said) == bool(steep - broken)
        assert ("No task is broken" in said) == (not broken)
        assert ("keeps least" in said) == bool(broken)
