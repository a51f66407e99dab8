"""The notebooks run from top to bottom, what they say is what they computed, and they are stored with it."""

import base64
import json
import os
import re
import sys
from pathlib import Path

import cupel
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
PICTURES = {"what_perplexity_hides": 5, "own_criterion": 1}
MOST_BYTES = 60_000  # of a picture

# What the tests ask of each notebook when it has run, as JSON.
ASKED = {
    "what_perplexity_hides": """
print(json.dumps({
    "dense": {label: fmean(values(dense, label)) for label in TASKS},
    "items": {label: len(values(dense, label)) for label in TASKS},
    "ratios": {named(recipe): ratio(scores) for recipe, scores in results.items()},
    "kept": {named(recipe): {label: kept(scores, label) for label in TASKS} for recipe, scores in results.items()},
    "pairs": {label: [pair(label).low, pair(label).difference, pair(label).high] for label in TASKS},
    "questions": [[one["RawQuestion"], one["Parses"][0]["Answers"][0]["AnswersName"][0]] for one in questions],
    "options": [[item.gold, item.prediction] for item in dense.items("mmlu")],
    "said": said,
}))
""",
    "own_criterion": """
import json
print(json.dumps({
    "zeros": zeros,
    "perplexity": {name: one.perplexities["perplexity"].value for name, one in scores.items()},
    "fingerprint": model.fingerprint(),
    "rows": {name: {label: [row.low, row.difference, row.high] for label, row in found.items()}
             for name, found in rows.items()},
    "means": {name: {label: one.metrics[task]["strict"][VALUES[task.partition(":")[0]]]
                     for task, label in LABELS.items()} for name, one in scores.items()},
    "lines": lines,
}))
""",
}


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def printed(notebook):
    return "".join(out.text for out in outputs(notebook) if out.output_type == "stream")


def pictures(notebook):
    found = [out.get("data", {}).get("image/png") for out in outputs(notebook)]
    return [base64.b64decode(png) for png in found if png]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A function: a notebook after its run, and what ASKED printed; each runs once."""
    known = {}

    def run(name):
        if name not in known:
            known[name] = execute(name, tmp_path_factory.mktemp(name))
        return known[name]

    return run


def execute(name, folder):
    # A kernel of this very Python, whatever kernels the machine knows.
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "cupel's tests",
        "language": "python",
    }
    kernels = folder / "jupyter" / "kernels" / "cupel_tests"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    notebook = read(name)
    notebook.cells.append(nbformat.v4.new_code_cell(ASKED[name]))
    with pytest.MonkeyPatch.context() as patch:
        # The kernel inherits these, and PYTHONPATH with them; no start-up file of the user's runs.
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="cupel_tests")
        client.execute(cwd=str(folder))
    return notebook, json.loads(notebook.cells[-1].outputs[0].text)


@pytest.mark.parametrize("name", PICTURES)
def test_stored_with_the_results_of_this_model(name):
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert not [out for out in outputs(notebook) if out.output_type == "error"]
    fingerprint = cupel.load_model(cupel.touchstone.folder()).fingerprint()
    assert printed(notebook).splitlines()[0] == f"model {fingerprint}"
    assert len(pictures(notebook)) == PICTURES[name]
    assert all(len(png) < MOST_BYTES for png in pictures(notebook))


@pytest.mark.parametrize("name", PICTURES)
def test_stored_without_traces_of_the_machine(name):
    notebook = read(name)
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r'"(/tmp|/home|/root|/work|C:)|site-packages', text)
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    assert not [out for out in outputs(notebook) if out.get("name") == "stderr"]


@pytest.mark.parametrize("name", PICTURES)
def test_runs_without_warnings_and_draws(name, ran):
    notebook, _ = ran(name)
    assert not [out.text for out in outputs(notebook) if out.get("name") == "stderr"]
    assert len(pictures(notebook)) == PICTURES[name]
    assert all(len(png) < MOST_BYTES for png in pictures(notebook))


def test_story_measures_what_it_says(ran):
    _, found = ran("what_perplexity_hides")
    assert found["items"] == dict.fromkeys(found["items"], 40)
    # The dense model can do all of it, or its losses would mean nothing.
    assert all(score >= 0.7 for score in found["dense"].values()), found["dense"]
    for method in ("magnitude", "wanda"):
        ratios = [found["ratios"][f"{method} {level}%"] for level in (30, 40, 50, 60)]
        assert ratios == sorted(ratios) and ratios[-1] > 1
    bits = [found["ratios"][f"rounding {bits} bits"] for bits in (4, 3, 2)]
    assert bits == sorted(bits) and bits[-1] > 1


def test_story_asks_the_same_with_and_without_options(ran):
    _, found = ran("what_perplexity_hides")
    assert len(found["questions"]) == len(found["options"]) == 40
    assert all(question.endswith("?") and answer for question, answer in found["questions"])
    assert len({question for question, _ in found["questions"]}) >= 38


def test_story_sentences_hold_its_numbers(ran):
    notebook, found = ran("what_perplexity_hides")
    kept, said = found["kept"], found["said"]
    lower = sum(row["facts: obscure"] < row["facts: famous"] for row in kept.values())
    assert f"in {lower} of 11 models" in said["ranks"]
    assert f"the famous keep {kept['magnitude 50%']['facts: famous']:.0%}" in said["ranks"]
    higher = sum((dense_free(row, found)) > row["without options"] for row in kept.values())
    assert f"in {higher} of 11 models" in said["choice"]
    mild = sum(ratio <= 1.1 for ratio in found["ratios"].values())
    assert f"{mild} of 11" in said["mild"] or mild == 0
    for low, difference, high in found["pairs"].values():
        assert low <= difference <= high
    text = "\n".join(
        out.data.get("text/markdown", "") for out in outputs(notebook) if "data" in out
    )
    assert all(sentence in text for sentence in said.values())


def dense_free(row, found):
    """Share of the score on options that is left, guesses taken off."""
    dense = found["dense"]["choice"]
    return (row["choice"] * dense - 0.25) / (dense - 0.25)


def test_story_pairs_are_differences_of_the_models(ran):
    _, found = ran("what_perplexity_hides")
    for label, (_, difference, _) in found["pairs"].items():
        dense = found["dense"][label]
        change = dense * (found["kept"]["magnitude 50%"][label] - 1)
        assert difference == pytest.approx(change, abs=1e-9)


def test_own_criterion_is_the_one_that_pruned(ran):
    import torch

    _, found = ran("own_criterion")
    assert found["zeros"] == pytest.approx(dict.fromkeys(found["zeros"], 0.5), abs=1e-4)

    def shares(weight, stats):
        strength = weight.abs() * torch.sqrt(stats.sq_norm())
        return strength / strength.sum(1)[:, None].clamp_min(1e-30)

    folder = cupel.touchstone.folder()
    tokenizer = cupel.load_tokenizer(folder)
    model = cupel.load_model(folder, dtype="float32")
    text = folder / cupel.touchstone.CALIBRATION
    windows = cupel.sample_windows(text, tokenizer, samples=16, length=128, seed=0)
    mine = cupel.Criterion("shares", "sq_norm", shares, scope="matrix")
    cupel.compress(model, windows, cupel.Prune(mine, cupel.unstructured(0.5)))
    assert model.fingerprint() == found["fingerprint"]


def test_own_criterion_is_judged_by_its_numbers(ran):
    notebook, found = ran("own_criterion")
    for name, rows in found["rows"].items():
        assert set(rows) == set(found["means"][name]) and len(rows) == 5
        for label, (low, difference, high) in rows.items():
            change = found["means"]["row_share"][label] - found["means"][name][label]
            assert difference == pytest.approx(change, abs=1e-9)
            assert low <= difference <= high
        said = next(line for line in found["lines"] if line.startswith(f"- Against {name}, "))
        better = [label for label, row in rows.items() if row[0] > 0]
        worse = [label for label, row in rows.items() if row[2] < 0]
        assert (f"better in {', '.join(better)}" in said) if better else "better" not in said
        assert (f"worse in {', '.join(worse)}" in said) if worse else "worse" not in said
        change = 100 * (found["perplexity"]["row_share"] / found["perplexity"][name] - 1)
        assert any(f"that of {name} by {change:+.1f} %" in line for line in found["lines"])
    text = "\n".join(
        out.data.get("text/markdown", "") for out in outputs(notebook) if "data" in out
    )
    assert all(line in text for line in found["lines"])


def test_ten_lines():
    """The notebook promises to judge in ten lines; the cell that does has no more."""
    (cell,) = [cell for cell in read("own_criterion").cells if "against = {" in cell.source]
    assert len(cell.source.splitlines()) <= 10
