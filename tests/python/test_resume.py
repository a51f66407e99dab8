"""A run of `cupel evaluate` that is killed goes on to the same result, or says why it does not."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import cupel
import pytest
from cupel import touchstone

TASKS = ("multiple_choice", "perplexity")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options of a run with 120 questions and some 90 windows."""
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(1)
    things = ["ball", "dog", "cat", "tree", "book", "cup", "box"]
    lines = [
        {"context": f"{draw.choice(['Tom', 'Anna'])} has a", "choices": draw.sample(things, 4),
         "answer": draw.randrange(4), "id": f"q{i}"}
        for i in range(120)
    ]  # fmt: skip
    (folder / "quiz.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = (touchstone.folder() / touchstone.HELDOUT).read_text(encoding="utf-8")
    (folder / "text.txt").write_text(text[:16000], encoding="utf-8")
    tasks = f"multiple_choice:file={folder}/quiz.jsonl,perplexity"
    return ("--tasks", tasks, "--text", str(folder / "text.txt"), "--length", "64")


def start(out, data, *options, model=None):
    return subprocess.Popen(
        [sys.executable, "-m", "cupel", "evaluate", str(model or touchstone.folder()), *data,
         "--out", str(out), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(out, data, *options, **more):
    """Runs to the end: (exit code, stdout, stderr)."""
    process = start(out, data, *options, **more)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def recorded(out):
    """Bytes in the records."""
    return sum(path.stat().st_size for path in (out / "records").glob("*.jsonl"))


def comparable(out):
    """scores.json without what two runs may differ in."""
    scores = json.loads((out / "scores.json").read_text())
    del scores["run"]
    for perplexity in scores["perplexities"].values():
        perplexity["seconds"] = 0
    return scores


def records(out):
    """Texts of the records without times."""
    texts = {path.name: path.read_text() for path in (out / "records").glob("*.jsonl")}
    return {name: re.sub(r'"time":"[^"]*"', "", text) for name, text in texts.items()}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    code, _, stderr = finish(out, data)
    assert code == 0, stderr
    return out


def kill_when(process, out, size):
    """Kills as soon as the records hold `size` bytes; whether it came to that."""
    while process.poll() is None:
        if recorded(out) >= size:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_at_random_moments_it_ends_the_same(data, whole, tmp_path):
    out = tmp_path / "out"
    draw = random.Random(os.environ.get("CUPEL_TEST_SEED", "7"))
    full, kills, torn = recorded(whole), 0, 0
    for turn in range(6):
        at = recorded(out)
        process = start(out, data, *(["--resume"] if turn else []))
        kills += kill_when(process, out, at + draw.randrange(1, max(2, (full - at) // 2)))
        if turn % 2:  # as after a power cut: the end of a file is lost, at any byte
            path = draw.choice(sorted((out / "records").glob("*.jsonl")))
            text = path.read_bytes()
            path.write_bytes(text[: len(text) - draw.randrange(min(2000, len(text)))])
            torn += 1
    assert kills >= 4 and torn == 3
    code, stdout, stderr = finish(out, data, "--resume")
    assert code == 0, stderr
    assert "came from records of an earlier run" in stdout
    assert comparable(out) == comparable(whole)
    assert records(out) == records(whole)
    for name in TASKS:
        lines = [json.loads(line) for line in (out / f"records/{name}.jsonl").open()]
        ids = [line["item"] for line in lines if "item" in line]
        assert len(ids) == len(set(ids)) == lines[0]["manifest"]["items"]["count"]


def test_a_finished_record_runs_nothing(data, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "scores.json").unlink()
    before = (out / "records" / "perplexity.jsonl").read_bytes()
    code, stdout, stderr = finish(out, data, "--resume")
    assert code == 0, stderr
    assert comparable(out) == comparable(whole)
    assert (out / "records" / "perplexity.jsonl").read_bytes() == before
    scores = cupel.EvalResult.from_json((out / "scores.json").read_text())
    windows = scores.perplexities["perplexity"].windows
    assert scores.run.items_recorded == 120 + windows
    assert f"{120 + windows} items came from records" in stdout


def test_without_resume_a_record_is_left_alone(data, whole):
    before = records(whole)
    code, stdout, stderr = finish(whole, data)
    assert (code, stdout) == (1, "")
    assert "--resume" in stderr and "--out" in stderr and len(stderr.splitlines()) == 1
    assert records(whole) == before


def test_one_changed_weight_is_refused(data, whole, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(touchstone.folder(), model)
    tensors = cupel.read_safetensors(model / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] += 1
    cupel.write_safetensors(model / "model.safetensors", tensors, {"format": "pt"})
    code, _, stderr = finish(whole, data, "--resume", model=model)
    assert code == 1
    assert "model.fingerprint" in stderr and len(stderr.splitlines()) == 1


def test_other_options_are_refused_by_name(data, whole):
    for options, named in (
        (("--seed", "1"), "seed: 0 and 1"),
        (("--limit", "5"), "items.count: 120 and 5"),
    ):
        code, _, stderr = finish(whole, data, "--resume", *options)
        assert code == 1 and named in stderr


def test_two_at_once_are_refused(data, tmp_path):
    out = tmp_path / "out"
    first = start(out, data)
    while first.poll() is None and not (out / "records/multiple_choice.jsonl").exists():
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)  # holds its lock and waits
    try:
        code, _, stderr = finish(out, data, "--resume")
    finally:
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert code == 1
    assert "Another one is writing" in stderr


def test_ctrl_c_says_how_to_go_on(data, whole, tmp_path):
    out = tmp_path / "out"
    process = start(out, data)
    while process.poll() is None and recorded(out) < recorded(whole) // 4:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130 and stdout == ""
    assert stderr.splitlines()[-1].startswith("cupel: interrupted;") and "--resume" in stderr
    assert "Traceback" not in stderr
    code, _, stderr = finish(out, data, "--resume")
    assert code == 0, stderr
    assert comparable(out) == comparable(whole)


def test_against_a_model_both_are_recorded(data, whole, tmp_path):
    model = tmp_path / "pruned"
    pruned = cupel.load_model(touchstone.folder())
    cupel.compress(pruned, None, cupel.Prune("magnitude", cupel.unstructured(0.5)))
    cupel.save_model(pruned, model)
    out = tmp_path / "out"
    code, stdout, stderr = finish(out, data, "--against", str(touchstone.folder()), model=model)
    assert code == 0, stderr
    assert comparable(out / "dense") == comparable(whole)
    assert records(out / "dense") == records(whole)
    comparison = json.loads((out / "comparison.json").read_text())
    assert comparison["perplexities"][0]["ratio"] > 1
    assert {row["metric"] for row in comparison["tasks"]} == {"accuracy", "acc_norm", "acc_bytes"}
    assert "verdict" in stdout and "McNemar" in stdout
    code, again, stderr = finish(
        tmp_path / "again", data, "--against", str(out / "dense"), model=model
    )
    assert code == 0, stderr
    assert json.loads((tmp_path / "again" / "comparison.json").read_text()) == comparison
