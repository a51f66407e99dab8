"""The examples run, in Python and in C++, and both print the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cupel
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CUPEL_BUILD_DIR", REPOSITORY / "build" / "release"))
NAMES = [
    "1_prune",
    "2_own_criterion",
    "3_quantize",
    "4_evaluate",
    "5_own_task",
    "6_prune_and_quantize",
]


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(output):
    found = re.findall(r"^(.*(?:perplexity|accuracy).*?):? +(\d+\.\d+)$", output, re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.fixture
def arguments(tiny_folder, tmp_path):
    return (tiny_folder, tmp_path / "calibration.txt", tmp_path / "heldout.txt")


def python_example(name):
    return (sys.executable, REPOSITORY / "examples" / "python" / f"{name}.py")


def cpp_example(name):
    program = BUILD / "examples" / "cpp" / f"example_{name}"
    if not program.is_file():
        pytest.skip(f"{program} is not there (CUPEL_BUILD_DIR names the build folder)")
    return (program,)


@pytest.mark.parametrize("name", NAMES)
def test_python(name, arguments, tmp_path):
    output = run(*python_example(name), *arguments, tmp_path / "out")
    found = numbers(output)
    assert any("dense" in key for key in found) and any("compressed" in key for key in found)
    dense = next(value for key, value in found.items() if "dense" in key and "perplexity" in key)
    tokenizer = cupel.load_tokenizer(arguments[0])
    expected = cupel.perplexity(cupel.load_model(arguments[0]), tokenizer, arguments[2])
    assert dense == pytest.approx(expected.value, abs=1e-4)
    written = cupel.perplexity(cupel.load_model(tmp_path / "out"), tokenizer, arguments[2])
    assert [*found.values()][-1] == pytest.approx(written.value, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_cpp_prints_what_python_prints(name, arguments, tmp_path):
    ours = run(*cpp_example(name), *arguments, tmp_path / "cpp")
    theirs = run(*python_example(name), *arguments, tmp_path / "python")
    assert numbers(ours) == numbers(theirs) != {}
    folders = [cupel.load_model(tmp_path / folder) for folder in ("cpp", "python")]
    assert folders[0].fingerprint() == folders[1].fingerprint()


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_print_the_usage(name):
    for command in (python_example(name), cpp_example(name)):
        done = subprocess.run([*map(str, command), "one"], capture_output=True, text=True)
        assert done.returncode != 0 and "MODEL CALIBRATION HELDOUT OUT" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_without_arguments_the_embedded_model(name, tmp_path):
    if not (cupel.touchstone.folder() / "model.safetensors").is_file():
        pytest.skip(f"{cupel.touchstone.folder()} has no model")
    done = subprocess.run(
        [*map(str, python_example(name))], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert numbers(done.stdout) and len(list(tmp_path.iterdir())) == 1


def test_evaluations_print_one_table_also_from_their_records(arguments, tmp_path):
    def table(example, folder):
        output = run(*example("4_evaluate"), *arguments, tmp_path / folder)
        return [line for line in output.splitlines() if line.startswith("|")]

    expected = table(python_example, "python")
    assert [line.split("|")[3].strip() for line in expected[-3:]] == [
        "acc_bytes",
        "acc_norm",
        "accuracy",
    ]
    records = sorted((tmp_path / "python" / "records").rglob("*.jsonl"))
    before = [file.read_bytes() for file in records]
    assert [file.parent.name for file in records] == ["compressed"] * 2 + ["dense"] * 2
    assert table(python_example, "python") == expected
    assert [file.read_bytes() for file in records] == before
    assert table(cpp_example, "cpp") == expected


def test_ria_scores_zero_columns_and_rows_as_numbers():
    import runpy

    import torch

    path = REPOSITORY / "examples" / "python" / "2_own_criterion.py"
    before = set(cupel.criteria())
    ria = runpy.run_path(str(path))["my_ria"]
    try:
        weight = torch.tensor([[0.0, 1.0, -2.0], [0.0, 0.0, 0.0], [0.0, 3.0, 4.0]])
        stats = cupel.InputStats(3, cupel.Needs.sq_norm)
        stats.add(torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 1.0]]))
        scores = ria.score(weight, stats)
        assert torch.isfinite(scores).all()
        assert (scores[1] == 0).all() and (scores[:, 0] == 0).all() and (scores[:, 1] == 0).all()
        expected = (4 / 6 + 4 / 7) * 5**0.25
        assert float(scores[2, 2]) == pytest.approx(expected, rel=1e-6)
        built_in = cupel.Prune("ria", cupel.row_wise(0.4)).compress(weight, stats)
        ours = cupel.Prune(ria, cupel.row_wise(0.4)).compress(weight, stats)
        assert torch.equal(ours.mask, built_in.mask)
    finally:
        for name in set(cupel.criteria()) - before:
            cupel.remove_criterion(name)
