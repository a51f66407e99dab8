"""`cupel demo` and the grids of the same world in examples/kick, in small."""

import re
import shutil
import sys

import cupel
import pytest
from conftest import REPOSITORY
from cupel import touchstone
from cupel._kick.config import make_grid, read_config
from cupel.cli import main
from small_world import chat_model, write_world

GRID = touchstone.folder().parent / "grid.yaml"
EXAMPLES = REPOSITORY / "examples" / "kick"
SMALL = {"sparsity": [0.5], "bits": [3], "samples": [2], "length": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chat_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def small(monkeypatch):
    """The demo on a world of a few items, and in the process of pytest."""
    from cupel.cli import demo
    from cupel.touchstone import world

    monkeypatch.setattr(world, "write_world", write_world, raising=False)
    monkeypatch.setattr(demo, "QUICK", demo.QUICK | {"samples": [2], "length": 64, "limit": 4})
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)


def described(file):
    grid = make_grid(read_config(file, "/place"), {})
    return grid.to_dict(), grid.cells()


def test_the_grid_of_the_package_is_that_of_the_examples():
    assert described(GRID) == described(EXAMPLES / "touchstone.yaml")
    grid, cells = described(GRID)
    full, more = described(EXAMPLES / "touchstone_full.yaml")
    assert full["tasks"] == grid["tasks"] and len(grid["tasks"]) == 15
    assert {cell.id for cell in cells} < {cell.id for cell in more}
    assert len(cells) == 21  # 3 methods x (4 levels and 2:4), 2 x 3 bits
    assert full["seeds"] == [0, 1, 2] and "4:8" in full["patterns"] and 8 in full["bits"]
    assert all(
        len({"label"} & options.keys()) == 1 for task in grid["tasks"] for options in task.values()
    )


@pytest.mark.parametrize("name", ["touchstone", "touchstone_full"])
def test_the_grids_of_the_examples_run_in_small(name, model, tmp_path):
    shutil.copyfile(EXAMPLES / f"{name}.yaml", tmp_path / "grid.yaml")
    write_world(tmp_path / "world", 0, items=3)
    changes = SMALL | {"methods": ["wanda"], "quantizers": ["rtn"], "seeds": [0], "limit": 3}
    result = cupel.kick(model, tmp_path / "out", tmp_path / "grid.yaml", **changes)
    assert [one.error for one in result.cells] == [""] * len(result.cells)
    ids = ["wanda-50-s0", "wanda-2of4-s0", "rtn-3bit"]
    assert [one.id for one in result.cells if "4of8" not in one.id] == ids
    columns = result.table()[0][4:-1]
    assert len(columns) == 15 and "facts: obscure" in columns and "summaries" in columns
    page = cupel.write_html_report(result.folder)["index.html"].read_text(encoding="utf-8")
    assert "<strong>In short.</strong>" in page and "only told: famous" in page


def test_the_demo_in_small(model, small, tmp_path, capsys):
    out = tmp_path / "demo"
    arguments = ["demo", "--quick", "--model", str(model), "--out", str(out), "--workers", "2"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {"world", "grid"}
    result = cupel.KickResult(out / "grid")
    ids = ["wanda-30-s0", "wanda-60-s0", "gptq-3bit-s0"]
    assert [one.id for one in result.cells] == ids and not result.failed
    assert "per_subject=10" in str(
        result.kick
    )  # all five subjects, not the first 50 questions of one
    for line in ("A perplexity of stories", "C facts: famous", "wanda 30 %", "gptq 3 bit"):
        assert any(row.startswith(line) for row in said.out.splitlines()), said.out
    assert "2.8 paired standard errors" in " ".join(said.out.split())
    page = (out / "grid/report/index.html").read_text(encoding="utf-8")
    short = page.split("<strong>In short.</strong>")[1].split("</p>")[0]
    short = " ".join(short.replace("\u00a0", " ").split())
    assert short.split(". ")[0] in " ".join(said.out.split())
    assert f"The report is {out}/grid/report/index.html" in said.out
    assert "[4/4]" in said.err
    # what it does with a folder that is there
    assert main(arguments) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "0 of 4 models; the others are done" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(model, small, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("...")
    assert main(["demo", "--quick", "--model", str(model), "--out", str(tmp_path)]) == 1
    assert "out must be new, empty, or the folder of a demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_no_world_is_left_where_nothing_can_run(small, tmp_path, capsys):
    assert main(["demo", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "out" / "world").exists()


def test_several_processes_write_what_one_writes(model, tmp_path):
    from kick_grids import contents

    write_world(tmp_path / "world", 0, items=3)
    changes = SMALL | {"patterns": [], "quantizers": ["rtn"], "limit": 3}
    found = []
    for workers in (1, 2):
        stages = []
        grid = make_grid(read_config(GRID, tmp_path), changes)
        result = cupel.kick(
            model, tmp_path / f"out{workers}", grid, workers=workers,
            progress=lambda status, stages=stages: stages.append((status.cell.id, status.stage)),
        )  # fmt: skip
        assert [one.status for one in result.cells] == ["done"] * 4
        for one in result.cells:
            assert {(one.id, "start"), (one.id, "end")} <= set(stages)
        # What is computed is the same for any number of threads; records name the number.
        found.append(
            {
                name: re.sub(r'"threads": ?\d+', "", text)
                for name, text in contents(result.folder).items()
            }
        )
    assert found[0] == found[1]


def test_processes_that_fail_or_are_stopped(model, tmp_path):
    write_world(tmp_path / "world", 0, items=3)
    grid = make_grid(
        read_config(GRID, tmp_path),
        SMALL | {"patterns": [], "quantizers": [], "bits": [], "limit": 2},
    )

    def stop(status):
        return status.stage != "end" or status.cell.id == "dense"

    with pytest.raises(KeyboardInterrupt):
        cupel.kick(model, tmp_path / "out", grid, workers=2, progress=stop)
    there = cupel.KickResult(tmp_path / "out")
    assert there.dense.status == "done" and "waiting" in [one.status for one in there.cells]
    result = cupel.kick(model, tmp_path / "out", grid, workers=2, resume=True)
    assert [one.status for one in result.cells] == ["done"] * 3
    with pytest.raises(ValueError, match="workers is at least 1"):
        cupel.kick(model, tmp_path / "new", grid, workers=0)
    with pytest.raises(ValueError, match="Got 2 and a tokenizer"):
        cupel.kick(model, tmp_path / "new", grid, workers=2, tokenizer=cupel.load_tokenizer(model))

    @cupel.criterion("known_here")
    def known_here(weight, stats):
        return weight.abs()

    try:
        chosen = grid.to_dict() | {"methods": ["known_here", "magnitude"]}
        result = cupel.kick(model, tmp_path / "own", chosen, workers=2)
        assert [one.status for one in result.cells] == ["failed", "done"]
        assert "known_here" in result.failed[0].error
    finally:
        cupel.remove_criterion("known_here")
