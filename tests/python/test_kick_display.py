"""What `cupel kick` shows, and that its help and its example work."""

import io
import subprocess
import sys

import cupel
import pytest
from conftest import REPOSITORY
from cupel import touchstone
from cupel._kick.runner import KickStatus
from cupel.cli.kick_display import GridDisplay, window
from kick_grids import write_data
from rich.console import Console


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    options = write_data(tmp_path_factory.mktemp("data")) | {"limit": 4}
    return cupel.kick(touchstone.folder(), tmp_path_factory.mktemp("grid") / "out", **options)


def test_help_imports_nothing_heavy():
    code = (
        "from cupel.cli import main\ntry: main(['kick', '--help'])\nexcept SystemExit: pass\n"
        "import sys; print([m for m in ('torch', 'numpy', 'rich', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "--static-groups" in done.stdout


def test_the_grid_of_the_examples_runs(tmp_path):
    file = REPOSITORY / "examples" / "kick" / "quick.yaml"
    changes = {"seeds": 0, "sparsity": 0.5, "quantizers": [], "bits": [], "limit": 6}
    result = cupel.kick(touchstone.folder(), tmp_path / "out", file, **changes)
    assert [one.status for one in result.cells] == ["done"] * 6
    assert result.dense.metrics["multiple_choice"]["strict"]["accuracy"] > 0.5


def test_display(whole):
    now = 0.0
    out = io.StringIO()
    display = GridDisplay(5, clock=lambda: now, file=out)
    with display:  # no terminal
        display(KickStatus(whole, whole.dense, "start"))
        now = 10.0
        display(KickStatus(whole, whole.dense, "end"))
        display(KickStatus(whole, whole.cells[1], "start"))
        now = 14.0
        display(KickStatus(whole, whole.cells[1], "end"))
    first, second = out.getvalue().splitlines()
    assert first.startswith("[1/5] dense  ") and first.endswith("10.0 s, about 40 s left")
    assert second.startswith("[2/5] wanda 50 % seed 0  ") and "4.0 s, about 21 s left" in second
    value = whole.cells[1].metrics["multiple_choice"]["strict"]["accuracy"]
    assert f"multiple_choice accuracy {value:.4f} (" in second
    console = Console(file=io.StringIO(), width=200)
    console.print(display.render())
    shown = console.file.getvalue()
    assert (
        shown.count("done") == 5 and "3 of 5 models to run, 14 s passed, about 21 s left" in shown
    )
    rows = [[str(i), "done" if i < 30 else "running" if i == 30 else "waiting"] for i in range(60)]
    seen = [int(row[0]) for row in window(rows, 10)]
    assert (
        len(seen) == 10
        and seen[0] == 0
        and 30 in seen
        and seen[1:] == list(range(seen[1], seen[1] + 9))
    )
    assert [int(row[0]) for row in window(rows[:31], 10)][-1] == 30
