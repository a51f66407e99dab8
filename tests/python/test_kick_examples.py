"""The paper's experiments in examples/kick: each loads, and each runs in small on data in the authors' shapes."""

import gzip
import json
import re
import shutil

import cupel
import pytest
import yaml
from conftest import REPOSITORY
from cupel import touchstone
from mmlu_data import write_small
from test_kick_other_model import fewer_blocks

MODEL = touchstone.folder()
FOLDER = REPOSITORY / "examples" / "kick"
CALIBRATION = "c4-train.00000-of-01024.json.gz"
PAPER = [
    "bits", "calibration_count", "k_shot", "n_m", "small_dense_large_sparse", "sparsity_sweep",
]  # fmt: skip

# What makes a grid small: the files' own axes stay, shorter.
SMALL = {"seeds": [0], "length": 64, "limit": 3, "group": 64}
SHORTER = {
    "bits": {"bits": [8, 2], "samples": 2},
    "calibration_count": {"samples": [2, 3], "sparsity": 0.7},
    "k_shot": {"sparsity": 0.5, "samples": 2},
    "n_m": {"samples": 2},
    "small_dense_large_sparse": {"samples": 2},
    "sparsity_sweep": {"sparsity": [0.05, 0.8], "samples": 2},
}
CELLS = {
    "bits": ["gptq-8bit-s0", "gptq-2bit-s0"],
    "calibration_count": [f"{m}-70-n{n}-s0" for m in ("wanda", "sparsegpt") for n in (2, 3)],
    "k_shot": ["wanda-50-s0"],
    "n_m": [
        f"{m}-{level}{seed}"
        for levels in (["50"], ["1of2", "2of4", "4of8"])
        for m, seed in (("magnitude", ""), ("wanda", "-s0"), ("sparsegpt", "-s0"))
        for level in levels
    ],
    "small_dense_large_sparse": [
        "model-small", "magnitude-parity", "magnitude-46.16", "wanda-parity-s0",
        "wanda-46.16-s0", "sparsegpt-parity-s0", "sparsegpt-46.16-s0",
    ],
    "sparsity_sweep": [
        "magnitude-5", "magnitude-80", "wanda-5-s0", "wanda-80-s0", "sparsegpt-5-s0",
        "sparsegpt-80-s0",
    ],
}  # fmt: skip


def write_data(folder):
    """Each data set in a few items, where docs/llm_kick.md says that it lies."""
    for name in ("wikitext2", "freebaseqa", "triviaqa/qa", "triviaqa/evidence/wikipedia",
                 "triviaqa/evidence/web"):  # fmt: skip
        (folder / name).mkdir(parents=True)
    text = (MODEL / touchstone.HELDOUT).read_text(encoding="utf-8")
    (folder / "wikitext2" / "wiki.test.raw").write_text(text[:20000], encoding="utf-8")
    write_small(folder / "mmlu")
    asked = [("Who has a ball?", "tom"), ("Who is it?", "anna"), ("What is that?", "a cup")]
    questions = [
        {"Question-ID": f"q{i}", "RawQuestion": question,
         "Parses": [{"Answers": [{"AnswersName": [answer]}]}]}
        for i, (question, answer) in enumerate(asked)
    ]  # fmt: skip
    (folder / "freebaseqa" / "FreebaseQA-eval.json").write_text(
        json.dumps({"Questions": questions})
    )
    trivia = []
    for i, (question, answer) in enumerate(asked):
        (folder / "triviaqa/evidence/wikipedia" / f"Page{i}.txt").write_text(f"It is {answer}.")
        made = {"NormalizedAliases": [answer], "NormalizedValue": answer, "Value": answer}
        trivia.append({"Question": question, "QuestionId": f"t{i}", "Answer": made,
                       "EntityPages": [{"Filename": f"Page{i}.txt"}], "SearchResults": []})  # fmt: skip
    (folder / "triviaqa" / "qa" / "wikipedia-dev.json").write_text(json.dumps({"Data": trivia}))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Copies of the files with everything beside them that their comments ask for."""
    folder = tmp_path_factory.mktemp("kick")
    for name in PAPER:
        shutil.copyfile(FOLDER / f"{name}.yaml", folder / f"{name}.yaml")
    write_data(folder / "data")
    fewer_blocks(folder / "small")
    text = (MODEL / touchstone.CALIBRATION).read_text(encoding="utf-8")
    with gzip.open(folder / CALIBRATION, "wt", encoding="utf-8") as file:
        for at in range(0, 40000, 2000):
            file.write(json.dumps({"text": text[at : at + 2000]}) + "\n")
    return folder


def test_every_file_is_known_here_and_in_the_readme():
    files = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert files == sorted([*PAPER, "quick", "touchstone", "touchstone_full"])
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in files:
        assert f"| `{name}.yaml` |" in readme and f"--config examples/kick/{name}.yaml" in readme


@pytest.mark.parametrize("name", [*PAPER, "quick"])
def test_it_loads_and_says_what_it_holds(name, command):
    done = command("kick", MODEL, "--config", FOLDER / f"{name}.yaml", "--print-config")
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    grid = cupel.KickGrid(**printed)
    assert grid.cells() and grid.tasks
    if name != "quick":
        assert printed["data"] == str(FOLDER / "data")
        assert printed["calibration"] == str(FOLDER / CALIBRATION)
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert f"--config {name}.yaml" in text and re.search(r"claims? C\d", text)


@pytest.mark.parametrize("name", PAPER)
def test_it_runs_in_small(name, place, tmp_path):
    changes = SMALL | SHORTER[name]
    file = place / f"{name}.yaml"
    asked = yaml.safe_load(file.read_text())["tasks"]
    if name == "small_dense_large_sparse":  # windows of 2048 need a model that has them
        changes["tasks"] = ["mmlu:shots=5", "perplexity:length=64"]
    result = cupel.kick(MODEL, tmp_path / "out", file, **changes)
    assert [one.error for one in result.cells] == [""] * len(result.cells)
    assert [one.id for one in result.cells] == CELLS[name]
    assert len(result.dense.scores.manifests) == len(asked)
    for one in result.cells:
        assert set(one.metrics) == set(result.dense.metrics) and len(one.metrics) == len(asked)
    page = cupel.write_html_report(result.folder)["index.html"].read_text(encoding="utf-8")
    titles = {
        "calibration_count": "How much calibration text",
        "small_dense_large_sparse": "A small dense model against large compressed ones",
    }
    for owner, title in titles.items():
        assert (title in page) == (owner == name)
