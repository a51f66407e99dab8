"""A grid that is killed goes on to the same files, or says why it does not."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cupel
import pytest
from cupel import touchstone
from kick_grids import contents, flags, own_model, write_data


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    options = write_data(tmp_path_factory.mktemp("data"))
    return options | {"batch_tokens": 256, "limit": 60, "keep_models": True}


def start(out, options, *more, model=None):
    kept = ["--keep-models"] if options.get("keep_models") else []
    given = flags({key: value for key, value in options.items() if key != "keep_models"})
    return subprocess.Popen(
        [sys.executable, "-m", "cupel", "kick", str(model or touchstone.folder()), *given, *kept,
         "--out", str(out), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(out, options, *more, **others):
    """Runs to the end: (exit code, stdout, stderr)."""
    process = start(out, options, *more, **others)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The folder of a grid that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    code, _, stderr = finish(out, options)
    assert code == 0, stderr
    return out


def stop_when(process, reached, how=signal.SIGKILL):
    """Sends a signal as soon as `reached()` is true; the exit code and stderr."""
    while process.poll() is None:
        if reached():
            process.send_signal(how)
            break
        time.sleep(0.0002)
    _, stderr = process.communicate(timeout=300)
    return process.returncode, stderr


def recorded(folder):
    """Bytes of the records behind their manifests."""
    found = list((folder / "records").glob("*.jsonl"))
    return sum(path.stat().st_size for path in found) if len(found) > 2 else 0


MOMENTS = {
    "the grid is written": lambda out: (out / "kick.json").exists(),
    "the dense model is scored": lambda out: recorded(out / "dense") > 8000,
    "a cell is compressed": lambda out: (out / "cells/magnitude-50/compression.json").exists(),
    "a model is written": lambda out: (out / "cells/wanda-50-s0/model").exists(),
    "a cell is scored": lambda out: recorded(out / "cells/wanda-50-s0") > 8000,
    "a cell is compared": lambda out: (out / "cells/wanda-50-s1/comparison.json").exists(),
    "a cell is done": lambda out: (out / "cells/wanda-50-s1/cell.json").exists(),
}


def test_killed_again_and_again_it_ends_the_same(options, whole, tmp_path):
    out = tmp_path / "out"
    kills = 0
    for turn, reached in enumerate(MOMENTS.values()):
        if reached(out):  # it was quicker than the kill before
            continue
        process = start(out, options, *(["--resume"] if turn else []))
        code, _ = stop_when(process, lambda reached=reached: reached(out))
        kills += code == -signal.SIGKILL
    assert kills >= 4
    code, stdout, stderr = finish(out, options, "--resume")
    assert code == 0, stderr
    assert "the others are done" in stderr
    names = [name for name in contents(whole) if "model" not in name.split("/")]
    there, here = contents(whole), contents(out)
    assert sorted(here) == sorted(there)  # no part of an interrupted file is left
    for name in names:
        assert here[name] == there[name], name
    for name in there:
        if name.endswith(".safetensors"):
            assert here[name] == there[name], name


def test_a_finished_grid_runs_nothing(options, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "report", ignore_errors=True)  # is written anew each time
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    code, stdout, stderr = finish(out, options, "--resume")
    assert code == 0, stderr
    assert "0 of 5 models; the others are done" in stderr and "wanda 50 %" in stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_without_resume_a_grid_is_left_alone(options, whole):
    before = contents(whole)
    code, stdout, stderr = finish(whole, options)
    assert (code, stdout) == (1, "")
    assert "--resume" in stderr and "--out" in stderr and len(stderr.splitlines()) == 1
    assert contents(whole) == before


CHANGES = {
    "samples": ({"samples": 5}, r"settings\.calibration\.samples is 4 there and 5 here"),
    "seeds": ({"seeds": [0]}, r"settings\.seeds is \[0, 1\] there and \[0\] here"),
    "limit": ({"limit": 61}, r"settings\.limit is 60 there and 61 here"),
    "tasks": ({"tasks": ["perplexity:length=64"]}, "tasks is"),
    "group": ({"group": 32}, r"settings\.group is 64 there and 32 here"),
}


@pytest.mark.parametrize("change, message", CHANGES.values(), ids=CHANGES)
def test_another_grid_is_refused(change, message, options, whole):
    with pytest.raises(ValueError, match=message):
        cupel.kick(touchstone.folder(), whole, resume=True, **(options | change))


def test_other_data_are_refused(options, whole, tmp_path):
    text = tmp_path / "text.txt"
    shutil.copyfile(options["text"], text)  # the same elsewhere will do
    result = cupel.kick(touchstone.folder(), whole, resume=True, **(options | {"text": text}))
    assert not result.failed
    text.write_text(text.read_text() + "!")
    with pytest.raises(ValueError, match=r"data_sha256\.perplexity:length=64 is \w{64} there and"):
        cupel.kick(touchstone.folder(), whole, resume=True, **(options | {"text": text}))
    calibration = tmp_path / "calibration.txt"
    calibration.write_text("x" + text.read_text() * 5)
    with pytest.raises(ValueError, match=r"settings\.calibration\.sha256"):
        changed = options | {"calibration": calibration}
        cupel.kick(touchstone.folder(), whole, resume=True, **changed)


def test_one_changed_weight_is_refused(options, whole, tmp_path):
    model = own_model(tmp_path / "model")
    tensors = cupel.read_safetensors(model / "model.safetensors")
    tensors[sorted(tensors)[3]].view(-1)[0] += 1
    cupel.write_safetensors(model / "model.safetensors", tensors, {"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.fingerprint is \w{64} there and \w{64} here"):
        cupel.kick(model, whole, resume=True, **options)


def test_another_version_is_refused(options, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    kick = json.loads((out / "kick.json").read_text())
    (out / "kick.json").write_text(json.dumps(kick | {"cupel": "0.0.1"}))
    with pytest.raises(ValueError, match=r"cupel is 0\.0\.1 there"):
        cupel.kick(touchstone.folder(), out, resume=True, **options)
    (out / "kick.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not of this kind"):
        cupel.kick(touchstone.folder(), out, resume=True, **options)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_left_alone(resume, options, tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ValueError, match=r"holds thesis\.tex and no kick\.json"):
        cupel.kick(touchstone.folder(), tmp_path, resume=resume, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="must be a folder"):
        cupel.kick(touchstone.folder(), tmp_path / "thesis.tex", resume=resume, **options)


def test_one_process_at_a_time(options, whole):
    with (whole / "kick.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process"):
            cupel.kick(touchstone.folder(), whole, resume=True, **options)
    assert not cupel.kick(touchstone.folder(), whole, resume=True, **options).failed


def test_ctrl_c_leaves_what_was_done(options, whole, tmp_path):
    out = tmp_path / "out"
    process = start(out, options)
    code, stderr = stop_when(
        process, lambda: recorded(out / "cells/magnitude-50") > 6000, signal.SIGINT
    )
    assert code == 130, stderr
    assert "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("cupel: interrupted; ") and "the same command and --resume" in last
    result = cupel.kick(touchstone.folder(), out, resume=True, **options)
    assert [one.status for one in (result.dense, *result.cells)] == ["done"] * 5
    assert result.to_markdown() == cupel.KickResult(whole).to_markdown()


def test_a_progress_function_may_end_it(options, tmp_path):
    stages = []

    def progress(status):
        stages.append((status.cell.id, status.stage))
        return status.cell.id != "wanda-50-s0" or status.stage != "compress"

    with pytest.raises(KeyboardInterrupt):
        cupel.kick(touchstone.folder(), tmp_path / "out", progress=progress, **options)
    order = list(dict.fromkeys(stages))
    first = [("dense", stage) for stage in ("start", "score", "end")]
    second = [("magnitude-50", stage) for stage in ("start", "compress", "score", "end")]
    assert order == first + second + [("wanda-50-s0", "start"), ("wanda-50-s0", "compress")]
    result = cupel.KickResult(tmp_path / "out")
    assert [one.status for one in result.cells] == ["done", "waiting", "waiting", "waiting"]


def test_records_of_other_weights_are_refused_in_their_cell(options, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    cell = out / "cells" / "rtn-4bit"
    os.unlink(cell / "cell.json")
    record = cell / "records" / "perplexity.jsonl"
    text = record.read_text()
    there = re.search(r'"fingerprint":"(\w{64})"', text)[1]
    record.write_text(text.replace(there, "0" * 64))
    result = cupel.kick(touchstone.folder(), out, resume=True, **options)
    assert [one.id for one in result.failed] == ["rtn-4bit"]
    assert there in result.failed[0].error and "evaluate" in result.failed[0].error
