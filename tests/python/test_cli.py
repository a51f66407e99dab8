"""The `cupel` command as a newcomer runs it: in a process, with mistakes."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys

import cupel
import pytest


@pytest.fixture
def compress(command, tiny_folder, tmp_path):
    """Runs `cupel compress` on the tiny model, into tmp_path/out unless told otherwise."""

    def run(*options, model=tiny_folder, out=tmp_path / "out"):
        return command("compress", model, *options, "--out", out)

    return run


@pytest.fixture
def texts(tmp_path):
    """Options that name the calibration text."""
    calibration = ("--calibration", tmp_path / "calibration.txt")
    return (*calibration, "--samples", "4", "--length", "32")


def check_mistake(done, code, *parts):
    """One line on stderr, nothing on stdout, no traceback, the exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("cupel")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert str(part) in done.stderr


def test_compress_then_evaluate(command, compress, texts, tiny_folder, tmp_path):
    done = compress("--method", "wanda", "--sparsity", "0.5", *texts)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    names = cupel.load_model(tiny_folder).linear_names()
    assert [line.split()[1 if line[1] != " " else 2] for line in lines] == names
    assert all("loss " in line for line in lines)
    assert "14 compressed, 0 left alone" in done.stdout
    assert "50.0000% exact zeros" in done.stdout
    assert "if packed (computed)" in done.stdout
    assert "not smaller on disk" in done.stdout

    model = cupel.load_model(tmp_path / "out")
    for name in model.linear_names():
        weight = model.state_dict()[f"{name}.weight"]
        assert ((weight == 0).sum(1) == weight.shape[1] // 2).all()

    text = ("--text", tmp_path / "heldout.txt", "--length", "48")
    scored = command(
        "evaluate", tmp_path / "out", *text, "--against", tiny_folder, "--out", tmp_path / "scores"
    )
    assert scored.returncode == 0, scored.stderr
    assert scored.stderr == ""
    files = {path.name for path in (tmp_path / "scores").iterdir()}
    written = {"scores.json", "scores.csv", "scores.md", "records"}
    assert files == written | {"comparison.json", "dense"}
    assert {path.name for path in (tmp_path / "scores" / "dense").iterdir()} == written
    header, dense, half = (
        line.split(",") for line in (tmp_path / "scores" / "scores.csv").read_text().splitlines()
    )
    dense, half = dict(zip(header, dense, strict=True)), dict(zip(header, half, strict=True))
    ratio = float(half["perplexity"]) / float(dense["perplexity"])
    assert float(half["ratio"]) == pytest.approx(ratio, abs=1e-4)
    assert float(half["standard_error"]) > 0
    for row, folder in ((dense, tiny_folder), (half, tmp_path / "out")):
        assert row["model"] == folder.name and row["model"] in scored.stdout
        assert int(row["disk_bytes"]) == (folder / "model.safetensors").stat().st_size
    assert dense["packed_bytes_computed"] == ""
    assert 0 < int(half["packed_bytes_computed"]) < int(half["disk_bytes"])


def test_packed_bytes_are_untouched_tensors_and_packed_layers(compress, texts, tmp_path):
    from cupel.cli.sizes import packed_bytes, tensor_bytes

    done = compress("--bits", "4", "--group", "16", "--only", "*.mlp.*", *texts)
    assert done.returncode == 0, done.stderr
    sizes = tensor_bytes(tmp_path / "out")
    expected = 0
    for name, size in sizes.items():
        if ".mlp." in name:
            weights, columns = size // 4, 88 if "down_proj" in name else 32
            groups = weights // columns * -(-columns // 16)
            # codes and zero points at 4 bits, scales at 32
            expected += weights // 2 + groups * 4 + -(-groups * 4 // 8)
        else:
            expected += size
    assert packed_bytes(tmp_path / "out") == expected
    assert f"{expected:,} bytes" in done.stdout


def test_evaluate_reads_earlier_scores_and_agrees_with_itself(command, tiny_folder, tmp_path):
    text = ("--text", tmp_path / "heldout.txt", "--length", "48")
    first = command("evaluate", tiny_folder, *text, "--out", tmp_path / "dense")
    assert first.returncode == 0, first.stderr
    again = command("evaluate", tiny_folder, *text, "--against", tmp_path / "dense")
    assert again.returncode == 0, again.stderr
    assert "Nothing was saved" in again.stdout
    assert "+0.00000" in again.stdout and "1.0000" in again.stdout


def test_tasks_with_options_in_one_argument(command, tiny_folder, tmp_path):
    file = tmp_path / "heldout.txt"
    tasks = f"perplexity:file={file},length=16,perplexity:file={file},length=48"
    done = command("evaluate", tiny_folder, "--tasks", tasks, "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert sorted(p["length"] for p in scores["perplexities"].values()) == [16, 48]


@pytest.mark.parametrize(
    "options",
    [("--bits", "4"), ("--method", "magnitude", "--pattern", "2:4")],
    ids=["rtn", "magnitude"],
)
def test_methods_that_need_no_text_do_without(compress, options):
    done = compress(*options)
    assert done.returncode == 0, done.stderr
    assert "no --calibration was given" in done.stdout
    assert all("loss -" in line for line in done.stderr.splitlines())


def test_the_command_does_what_the_library_does(compress, texts, tiny_folder, tmp_path):
    done = compress("--method", "wanda", "--pattern", "2:4", "--seed", "7", *texts)
    assert done.returncode == 0, done.stderr
    model, tokenizer = cupel.load_model(tiny_folder), cupel.load_tokenizer(tiny_folder)
    windows = cupel.sample_windows(
        tmp_path / "calibration.txt", tokenizer, samples=4, length=32, seed=7
    )
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    assert cupel.load_model(tmp_path / "out").fingerprint() == model.fingerprint()


USAGE_MISTAKES = {
    "sparsity in percent": (
        ["--method", "magnitude", "--sparsity", "50"],
        ["--sparsity", "fraction", "write 0.5"],
    ),
    "negative sparsity": (["--method", "magnitude", "--sparsity=-0.1"], ["fraction"]),
    "3:2": (["--method", "magnitude", "--pattern", "3:2"], ["n is at most m", "Got 3:2"]),
    "pattern that is none": (["--method", "magnitude", "--pattern", "2/4"], ["n:m"]),
    "unknown method": (
        ["--method", "wander", "--sparsity", "0.5"],
        ["unknown --method wander", "magnitude, ria, wanda, sparsegpt, rtn, gptq"],
    ),
    "no method": (["--sparsity", "0.5"], ["--method", "wanda"]),
    "no target": (["--method", "wanda"], ["--sparsity", "--pattern", "--bits"]),
    "two targets": (["--sparsity", "0.5", "--pattern", "2:4"], ["not allowed with"]),
    "wanda with bits": (["--method", "wanda", "--bits", "4"], ["wanda prunes", "rtn"]),
    "rtn with sparsity": (["--method", "rtn", "--sparsity", "0.5"], ["rtn", "--bits"]),
    "bits": (["--bits", "16"], ["1 to 8", "Got 16"]),
    "wanda without text": (
        ["--method", "wanda", "--sparsity", "0.5"],
        ["wanda needs calibration text", "--calibration FILE"],
    ),
    "length above positions": (
        ["--method", "magnitude", "--sparsity", "0.5", "--length", "65"],
        ["--length", "64", "Got 65"],
    ),
}


@pytest.mark.parametrize("mistake", USAGE_MISTAKES)
def test_usage_mistakes(compress, mistake, tmp_path):
    options, parts = USAGE_MISTAKES[mistake]
    check_mistake(compress(*options), 2, *parts)
    assert not (tmp_path / "out").exists()


MAGNITUDE = ("--method", "magnitude", "--sparsity", "0.5")


def test_wrong_path(compress, tmp_path):
    done = compress(*MAGNITUDE, model=tmp_path / "nowhere")
    check_mistake(done, 1, tmp_path / "nowhere", "does not exist")


def test_only_bin_weights(compress, tiny_folder):
    (tiny_folder / "model.safetensors").rename(tiny_folder / "pytorch_model.bin")
    check_mistake(compress(*MAGNITUDE), 1, "pytorch_model.bin", "safe_serialization")


def test_git_lfs_pointer(compress, tiny_folder):
    (tiny_folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
    )
    check_mistake(compress(*MAGNITUDE), 1, "model.safetensors", "git lfs pull")


def test_too_short_a_text(compress, command, tiny_folder, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("kalo mi")
    options = ("--method", "wanda", "--sparsity", "0.5", "--calibration", short)
    check_mistake(compress(*options), 1, short, "64", "a smaller --length")
    check_mistake(command("evaluate", tiny_folder, "--text", short), 1, short, "a smaller --length")


def test_missing_text(compress, tmp_path):
    options = ("--method", "wanda", "--sparsity", "0.5", "--calibration", tmp_path / "no.txt")
    check_mistake(compress(*options), 1, tmp_path / "no.txt")


def test_out_holds_a_model(compress, tmp_path):
    assert compress(*MAGNITUDE).returncode == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    check_mistake(compress("--bits", "4"), 1, tmp_path / "out", "choose another folder")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_out_is_a_file_or_the_model_itself(compress, tiny_folder, tmp_path):
    check_mistake(compress(*MAGNITUDE, out=tmp_path / "heldout.txt"), 2, "heldout.txt")
    check_mistake(compress(*MAGNITUDE, out=tiny_folder), 1, tiny_folder)


def test_missing_tokenizer(compress, texts, tiny_folder):
    (tiny_folder / "tokenizer.model").unlink()
    done = compress("--method", "wanda", "--sparsity", "0.5", *texts)
    check_mistake(done, 1, "tokenizer.model", tiny_folder)


def test_a_layer_that_is_not_there(compress):
    check_mistake(compress(*MAGNITUDE, "--skip", "*.lm_head"), 1, "*.lm_head", "model.layers.0")


def test_evaluate_mistakes(command, tiny_folder, tmp_path):
    check_mistake(command("evaluate", tiny_folder), 2, "--text FILE")
    text = ("--text", tmp_path / "heldout.txt")
    check_mistake(command("evaluate", tiny_folder, *text, "--length", "65"), 2, "64", "Got 65")
    check_mistake(command("evaluate", tiny_folder, *text, "--tasks", "mmul"), 1, "mmul")
    done = command("evaluate", tiny_folder, *text, "--against", tmp_path)
    check_mistake(done, 1, "--against", tmp_path)
    (tmp_path / "scores.json").write_text("{}")
    done = command("evaluate", tiny_folder, *text, "--against", tmp_path)
    check_mistake(done, 1, tmp_path / "scores.json")


def test_a_traceback_is_there_for_those_who_ask(command, tmp_path):
    done = command(
        "compress", tmp_path / "no", *MAGNITUDE, "--out", tmp_path / "out",
        env=os.environ | {"CUPEL_TRACEBACK": "1"},
    )  # fmt: skip
    assert done.returncode != 0 and "Traceback" in done.stderr and "FormatError" in done.stderr


def test_version_help_and_no_command(command):
    version = command("--version")
    assert version.returncode == 0 and version.stdout.startswith(f"cupel {cupel.__version__}")
    for arguments in ((), ("--help",)):
        done = command(*arguments)
        assert done.returncode == 0
        assert all(name in done.stdout for name in ("compress", "evaluate", "demo"))
    check_mistake(command("compres"), 2, "compres", "compress")


def test_cmake_dir(command):
    done = command("--cmake-dir")
    if done.returncode:
        check_mistake(done, 2, "CMake package is not installed")
    else:
        assert os.path.isfile(os.path.join(done.stdout.strip(), "cupel-config.cmake"))


def test_ctrl_c_leaves_one_line_and_nothing_half_written(tiny_folder, texts, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "cupel", "compress", str(tiny_folder), "--method", "wanda",
         "--sparsity", "0.5", *map(str, texts[:2]), "--samples", "20000", "--length", "64",
         "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    first = process.stderr.readline()  # a layer is finished, so it is in the middle
    assert "self_attn" in first
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == "cupel: interrupted; nothing was written."
    assert "Traceback" not in stderr
    assert not out.exists() or not any(out.iterdir())


def test_on_a_terminal_progress_is_one_changing_line(tiny_folder, texts, tmp_path):
    pytest.importorskip("rich")
    try:
        master, slave = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    process = subprocess.Popen(
        [sys.executable, "-m", "cupel", "compress", str(tiny_folder), "--method", "wanda",
         "--sparsity", "0.5", *map(str, texts), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=slave, text=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    stdout = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert "50.0000% exact zeros" in stdout
    assert b"left" in shown and b"[14/14]" not in shown


@pytest.mark.skipif(shutil.which("cupel") is None, reason="no cupel command on the PATH")
def test_the_installed_command_is_this_package():
    done = subprocess.run(["cupel", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("cupel ")
