"""Grids with several numbers of calibration windows, and with a task that is asked in several ways."""

import json

import cupel
import pytest
from cupel import touchstone
from cupel._kick.runner import prepare
from cupel.cli import kick as command_line
from kick_grids import contents, flags, write_data
from mmlu_data import write_small

MODEL = touchstone.folder()


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data")) | {"limit": 8}


@pytest.fixture(scope="module")
def counted(options, tmp_path_factory):
    """A grid over two numbers of windows."""
    chosen = options | {"samples": [2, 4], "seeds": [0, 1], "sparsity": [0.5, 0.7]}
    return cupel.kick(MODEL, tmp_path_factory.mktemp("counted") / "out", **chosen)


def test_numbers_of_windows_are_an_axis(options):
    grid = cupel.KickGrid(**(options | {"samples": [8, 2], "methods": ["wanda", "magnitude"]}))
    cells = grid.cells()
    assert [cell.id for cell in cells] == [
        "wanda-50-n8-s0", "wanda-50-n8-s1", "wanda-50-n2-s0", "wanda-50-n2-s1", "magnitude-50",
        "rtn-4bit",
    ]  # fmt: skip
    assert [cell.samples for cell in cells] == [8, 8, 2, 2, 8, 8]
    assert (cells[2].label, cells[4].label) == ("wanda 50 %, 2 windows", "magnitude 50 %")
    one = cupel.KickGrid(**(options | {"samples": [8]})).cells()
    assert one == cupel.KickGrid(**(options | {"samples": 8})).cells()
    assert [cell.id for cell in one] == [
        "magnitude-50", "wanda-50-s0", "wanda-50-s1", "rtn-4bit",
    ]  # fmt: skip
    assert {cell.label for cell in one} == {"magnitude 50 %", "wanda 50 %", "rtn 4 bit"}
    without = cupel.KickGrid(quantizers="rtn", bits=4, text=options["text"], samples=[8, 2])
    assert [cell.samples for cell in without.cells()] == [0]
    with pytest.raises(ValueError, match="samples: each stands once. Got 8 twice"):
        cupel.KickGrid(samples=[8, 8])
    with pytest.raises(ValueError, match="`samples` holds one number"):
        cupel.KickGrid(**(options | {"samples": []})).cells()


def test_a_number_of_windows_from_flags_and_yaml(options, tmp_path):
    from cupel._kick.config import read_config

    (tmp_path / "grid.yaml").write_text("samples: [8, 32, 128]\n")
    assert read_config(tmp_path / "grid.yaml") == {"samples": [8, 32, 128]}
    (tmp_path / "grid.yaml").write_text("samples: 16\n")
    assert read_config(tmp_path / "grid.yaml") == {"samples": [16]}


def test_each_cell_saw_as_many_windows_as_it_says(counted, options):
    ids = [one.id for one in counted.cells]
    assert len(ids) == 2 + 2 * 2 * 2 + 1 and ids[2] == "wanda-50-n2-s0"
    assert counted.kick["settings"]["calibration"]["samples"] == [2, 4]
    for one in counted.cells:
        calibration = one.compression["calibration"]
        assert calibration["tokens"] == 64 * one.cell.samples
        assert not one.error
    model, tokenizer = cupel.load_model(MODEL), cupel.load_tokenizer(MODEL)
    windows = cupel.sample_windows(options["calibration"], tokenizer, samples=2, length=64, seed=1)
    nested = cupel.sample_windows(options["calibration"], tokenizer, samples=4, length=64, seed=1)
    assert nested[:2].equal(windows)  # a seed's smaller number is the beginning of its larger
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.unstructured(0.5)))
    made = counted["wanda-50-n2-s1"].scores.manifests["perplexity"].model
    assert made == model.fingerprint()
    assert made != counted["wanda-50-n4-s1"].scores.manifests["perplexity"].model


def test_the_report_keeps_numbers_of_windows_apart(counted):
    written = cupel.write_html_report(counted.folder)
    text = written["report.md"].read_text(encoding="utf-8")
    assert "wanda n=2, sparsity" in text and "wanda n=4, sparsity" in text
    table = text.split("## How much calibration text\n\n")[1].split("\n\n")[0].splitlines()
    assert table[0] == "| method | level | task | dense | 2 windows | 4 windows |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[:2] for row in rows] == [["wanda", level] for level in ("50 %", "70 %")
                                         for _ in range(3)]  # fmt: skip
    for row in rows:
        if row[2] != "perplexity":
            continue
        for count, shown in zip((2, 4), row[4:], strict=True):
            ids = [f"wanda-{row[1][:2]}-n{count}-s{seed}" for seed in (0, 1)]
            values = [counted[i].metrics["perplexity"]["gptq"]["perplexity"] for i in ids]
            low, high = sorted(values)
            assert shown == f"{sum(values) / 2:.3f} ({low:.3f} to {high:.3f})"
    page = written["index.html"].read_text(encoding="utf-8")
    assert "How much calibration text" in page
    seeds = text.split("## Seeds\n\n")[1].split("\n\n")[0]
    assert "wanda n=2" in seeds  # two seeds each, and not four of one


def test_a_grid_of_one_number_has_no_such_table(options, tmp_path):
    result = cupel.kick(MODEL, tmp_path / "out", **(options | {"limit": 2, "samples": 2}))
    text = cupel.write_html_report(result.folder)["report.md"].read_text(encoding="utf-8")
    assert "calibration text" not in text and "wanda n=" not in text


def test_what_the_command_says_of_it(options, tmp_path, capsys):
    from cupel.cli import main

    chosen = options | {"samples": [2, 3], "seeds": 0, "methods": ["wanda"], "limit": 2}
    plan = prepare(MODEL, tmp_path / "out", None, False, chosen)
    said = command_line.announcement(plan)
    assert "50 %; 2, 3 windows; seeds 0" in said and "50 %, 2 windows" not in said
    arguments = ["kick", str(MODEL), *flags(chosen), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "wanda 50 %, 3 windows" in said
    assert "Ran once, not once a number of windows, since they draw no text: rtn." in said


@pytest.fixture(scope="module")
def shots(options, tmp_path_factory):
    """MMLU with two numbers of shots in one grid."""
    folder = tmp_path_factory.mktemp("mmlu")
    write_small(folder / "mmlu")
    chosen = options | {"methods": ["magnitude"], "sparsity": [0.5, 0.9], "quantizers": []}
    chosen |= {"bits": [], "data": folder, "limit": None}
    chosen["tasks"] = ["mmlu:shots=0", "mmlu:shots=5", "perplexity:length=64"]
    return chosen, cupel.kick(MODEL, folder / "out", **chosen)


def test_one_task_with_several_options_is_several_tasks(shots):
    chosen, result = shots
    tokenizer = cupel.load_tokenizer(MODEL)
    both = chosen["tasks"][:2]
    for one in (result.dense, *result.cells):
        assert len(list((one.folder / "records").glob("mmlu*.jsonl"))) == 2
        model = cupel.load_model(MODEL)
        if one.cell:
            cupel.compress(
                model, None, cupel.Prune("magnitude", cupel.unstructured(one.cell.level))
            )
        for task in both:
            alone = cupel.evaluate(model, tokenizer, [task], data=chosen["data"])
            assert one.metrics[task] == alone.metrics["mmlu"]
    assert result.dense.metrics[both[0]] != result.dense.metrics[both[1]]
    made = json.loads((result.cells[0].folder / "comparison.json").read_text())
    assert {pair["task"] for pair in made["tasks"]} == set(both)
    columns = result.table()[0]
    assert [column for column in columns if "strict" in column] == [
        f"{task} strict accuracy" for task in both
    ]
    assert result.kick["settings"]["data_sha256"].keys() == set(chosen["tasks"])


def test_the_report_keeps_them_apart(shots):
    _, result = shots
    written = cupel.write_html_report(result.folder)
    text = written["report.md"].read_text(encoding="utf-8")
    for count in (0, 5):
        assert f"magnitude, sparsity | mmlu:shots={count} (strict) (accuracy)" in text
    header = next(line for line in text.splitlines() if line.startswith("| model | mmlu"))
    assert header.count("mmlu:shots=0") == header.count("mmlu:shots=5") == 2
    for cell in result.cells:
        pairs = {pair.task: pair for pair in result.comparison(cell.id).tasks
                 if (pair.protocol, pair.metric) == ("strict", "accuracy")}  # fmt: skip
        lines = [line for line in written["verdicts.csv"].read_text().splitlines()
                 if line.startswith(cell.id) and ",strict,accuracy," in line]  # fmt: skip
        assert len(lines) == 2
        for line in lines:
            task = line.split(",")[5]
            assert repr(pairs[task].dense) in line and repr(pairs[task].compressed) in line


def test_they_resume_each_with_its_own_record(shots, tmp_path):
    import shutil

    chosen, result = shots
    out = tmp_path / "out"
    shutil.copytree(result.folder, out)
    shutil.rmtree(out / "report", ignore_errors=True)
    cell = out / "cells" / "magnitude-90"
    for name in ("cell.json", "scores.json", "comparison.json"):
        (cell / name).unlink()
    record = next(path for path in (cell / "records").iterdir() if "shots_5" in path.name)
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:20])
    again = cupel.kick(MODEL, out, resume=True, **chosen)
    assert not again.failed
    shutil.rmtree(result.folder / "report", ignore_errors=True)
    assert contents(out) == contents(result.folder)


def test_tasks_may_stand_several_times_on_the_command_line(options, command):
    given = flags({key: value for key, value in options.items() if key != "tasks"})
    more = ["--tasks", "mmlu:shots=0,split=val", "--tasks", "mmlu:shots=1,perplexity"]
    done = command("kick", MODEL, *given, *more, "--print-config")
    assert done.returncode == 0, done.stderr
    import yaml

    assert yaml.safe_load(done.stdout)["tasks"] == [
        "mmlu:shots=0,split=val", "mmlu:shots=1", "perplexity",
    ]  # fmt: skip
