"""Tasks with a label and a value of their own in a grid: read, kept, resumed, and shown everywhere."""

import csv
import io
import json
import re
import shutil
from types import SimpleNamespace

import cupel
import pytest
import yaml
from cupel import touchstone
from cupel._kick.config import make_grid, read_config
from cupel._kick.runner import KickStatus
from cupel.cli.kick_display import GridDisplay
from kick_grids import write_data
from rich.console import Console

MODEL = touchstone.folder()
NAMES = ["stories", "choice: things", "told in words"]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """A grid whose three tasks all have labels; the last one by another value than the usual one."""
    folder = tmp_path_factory.mktemp("data")
    made = write_data(folder) | {"methods": ["magnitude"], "limit": 12, "sparsity": [0.5, 0.9]}
    made["tasks"] = [
        {"perplexity": {"length": 64, "label": NAMES[0]}},
        {"multiple_choice": {"file": f"{folder}/quiz.jsonl", "label": NAMES[1]}},
        {
            "generation": {
                "file": f"{folder}/prompts.jsonl",
                "max_new_tokens": 6,
                "label": NAMES[2],
                "value": "substring",
            }
        },
    ]
    return made


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    return cupel.kick(MODEL, tmp_path_factory.mktemp("grid") / "out", **options)


def unlabelled(options):
    return options | {"tasks": [str(text) for text in cupel.KickGrid(**options).tasks]}


def test_a_labelled_task_is_its_text(options, tmp_path):
    grid = cupel.KickGrid(**options)
    assert grid.tasks[0] == "perplexity:length=64"
    assert [text.label for text in grid.tasks] == NAMES
    assert [text.value for text in grid.tasks] == ["", "", "substring"]
    assert grid.cells() == cupel.KickGrid(**unlabelled(options)).cells()
    for again in (make_grid(grid, {}), make_grid(grid.to_dict(), {})):
        assert again == grid
        assert [text.label for text in again.tasks] == NAMES
        assert again.tasks[2].value == "substring"
    (tmp_path / "grid.yaml").write_text(grid.to_yaml())
    assert make_grid(tmp_path / "grid.yaml", {}).to_dict() == grid.to_dict()
    (tmp_path / "below.yaml").write_text("tasks: [generation: {file: a.jsonl, label: A 1}]\n")
    (task,) = read_config(tmp_path / "below.yaml")["tasks"]
    assert (task, task.label) == (f"generation:file={tmp_path}/a.jsonl", "A 1")


BAD = {
    "label twice": (
        "tasks:\n  - mmlu: {shots: 0, label: facts}\n  - mmlu: {shots: 5, label: facts}\n",
        "each has its own label. Got facts twice",
    ),
    "label of another task": ("tasks: [perplexity, mmlu: {label: perplexity}]\n", "perplexity twice"),
    "no label": ("tasks: [mmlu: {label: ' '}]\n", "label must be a name in one line"),
    "two lines": ('tasks: [mmlu: {label: "a\\nb"}]\n', "label must be a name in one line"),
    "number": ("tasks: [mmlu: {value: 5}]\n", "value must be a name in one line. Got 5"),
}  # fmt: skip


@pytest.mark.parametrize("text, message", BAD.values(), ids=BAD)
def test_bad_labels_name_their_line(text, message, tmp_path):
    (tmp_path / "grid.yaml").write_text("methods: wanda\n" + text)
    with pytest.raises(cupel.FormatError, match=rf"line \d: tasks: .*{message}"):
        read_config(tmp_path / "grid.yaml")


def test_a_perplexity_has_one_value(options):
    tasks = [{"perplexity": {"length": 64, "value": "loss"}}]
    with pytest.raises(ValueError, match="`value` of a perplexity is perplexity. Got loss"):
        cupel.KickGrid(**(options | {"tasks": tasks})).cells()


def test_an_unknown_value_is_told_with_those_known(options, whole, tmp_path):
    tasks = [*options["tasks"][:2], {"generation": dict(options["tasks"][2]["generation"])}]
    tasks[2]["generation"]["value"] = "substrong"
    message = r"told in words has (\w+, )*substring(, \w+)*\. Got substrong"
    with pytest.raises(ValueError, match=message):
        cupel.kick(MODEL, tmp_path / "out", **(options | {"tasks": tasks}))
    there = cupel.KickResult(tmp_path / "out")
    assert there.dense.status == "done"  # the typo costs no scores
    scored = (tmp_path / "out/dense/scores.json").stat().st_mtime_ns
    result = cupel.kick(MODEL, tmp_path / "out", resume=True, **options)
    assert (tmp_path / "out/dense/scores.json").stat().st_mtime_ns == scored
    assert result.table() == whole.table()


def test_what_is_stored_goes_by_the_text(options, whole):
    kick = json.loads((whole.folder / "kick.json").read_text())
    assert kick["tasks"] == unlabelled(options)["tasks"]
    assert kick["shown"][kick["tasks"][2]] == {"label": NAMES[2], "value": "substring"}
    assert kick["settings"]["data_sha256"].keys() == set(kick["tasks"])
    assert set(whole.dense.metrics) == {"perplexity", "multiple_choice", "generation"}
    names = {path.name for path in (whole.folder / "dense/records").iterdir()}
    assert names == {"perplexity.jsonl", "multiple_choice.jsonl", "generation.jsonl"}


def test_tables_and_the_display_show_labels(whole):
    assert whole.table()[0][4:-1] == NAMES
    frame = whole.to_pandas()
    assert set(frame.task_label) == set(NAMES) and set(frame.task) == set(whole.dense.metrics)
    score = whole.dense.metrics["generation"]["strict"]["substring"]
    assert whole.table()[1][0][6] == f"{score:.4f}"
    out = io.StringIO()
    display = GridDisplay(2, clock=lambda: 0.0, file=out)
    display(KickStatus(whole, whole.cells[0], "start"))
    step = SimpleNamespace(name="generation", done=3, total=5)
    display(KickStatus(whole, whole.cells[0], "score", step))
    console = Console(file=io.StringIO(), width=250)
    console.print(display.render())
    shown = console.file.getvalue()
    assert "score told in words 3 of 5" in shown and "choice: things" in shown
    display(KickStatus(whole, whole.cells[0], "end"))
    assert f"{NAMES[1]} " in out.getvalue() and "generation" not in out.getvalue() + shown


def test_the_report_shows_labels(whole):
    written = cupel.write_html_report(whole.folder)
    page = written["index.html"].read_text(encoding="utf-8")
    shown = re.sub(r'<section id="provenance">.*', "", page, flags=re.DOTALL)
    for name in NAMES:
        assert name in shown
    for task in ("generation", "multiple_choice"):
        assert task not in shown
    assert "told in words (substring)" in shown
    for name in ("report.md", "report.tex"):
        text = written[name].read_text(encoding="utf-8")
        assert all(label in text for label in NAMES)
    rows = list(csv.DictReader(written["verdicts.csv"].open(encoding="utf-8")))
    own = [row for row in rows if row["label"] == NAMES[2]]
    assert {row["task"] for row in own} == {"generation"}
    assert {row["metric"] for row in own if row["headline"] == "1"} == {"substring"}
    assert len({row["metric"] for row in own}) > 1
    assert "ratio:stories" in written["cells.csv"].read_text(encoding="utf-8").splitlines()[0]


def test_other_labels_on_the_same_results(options, whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "out")
    before = (tmp_path / "out/cells/magnitude-50/scores.json").stat().st_mtime_ns
    plain = cupel.kick(MODEL, tmp_path / "out", resume=True, **unlabelled(options))
    assert plain.table()[0][4:-1] == ["perplexity", "multiple_choice accuracy", "generation exact"]
    assert not plain.kick["shown"]
    again = cupel.kick(MODEL, tmp_path / "out", resume=True, **options)
    assert again.table() == whole.table() and again.kick["shown"] == whole.kick["shown"]
    assert (tmp_path / "out/cells/magnitude-50/scores.json").stat().st_mtime_ns == before


def test_the_protocol_that_has_the_value_stands_for_the_task(options, tmp_path):
    questions = [
        {"Question-ID": f"q{i}", "RawQuestion": f"Who has ball {i}?",
         "Parses": [{"Answers": [{"AnswersName": ["tom"]}]}]} for i in range(8)
    ]  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps({"Questions": questions}))
    task = {"factoid_qa": {"file": f"{tmp_path}/q.json", "max_new_tokens": 4, "value": "accuracy"}}
    chosen = options | {"tasks": [task], "sparsity": [0.9], "quantizers": [], "bits": []}
    result = cupel.kick(MODEL, tmp_path / "out", **chosen)
    # protocol paper has no accuracy
    assert result.table()[0][4:-1] == ["factoid_qa accuracy"]
    rows = csv.DictReader(
        io.StringIO(cupel.write_html_report(tmp_path / "out")["verdicts.csv"].read_text())
    )
    assert next(row for row in rows if row["headline"] == "1")["protocol"] == "strict"


def test_the_command_reads_and_prints_them(command, options, tmp_path):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(cupel.KickGrid(**options).to_dict()))
    done = command("kick", MODEL, "--config", tmp_path / "grid.yaml", "--print-config")
    assert yaml.safe_load(done.stdout) == cupel.KickGrid(**options).to_dict()
