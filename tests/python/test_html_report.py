"""`cupel report`: its numbers are those of cupel.compare(), its page is whole, safe and the same each
time, and whatever is missing is said."""

import hashlib
import json
import math
import re
import shutil
import subprocess

import cupel
import pytest
from cupel.html_report import write_html_report
from cupel.html_report.page import sha256_source
from grid_folder import real_grid, write_json
from report_page import Page, read_csv

CELLS = [
    ("magnitude", "sparsity", 0.5, 0),
    ("magnitude", "sparsity", 0.8, 0),
    ("wanda", "sparsity", 0.5, 0),
    ("wanda", "sparsity", 0.8, 0),
    ("wanda", "sparsity", 0.8, 1),
    ("wanda", "pattern", "2:4", 0),
    ("rtn", "bits", 2, 0),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = real_grid(tmp_path_factory.mktemp("grid") / "grid", CELLS, items=40)
    write_html_report(folder)
    return folder


def result(path):
    return cupel.EvalResult.from_json(path.read_text(encoding="utf-8"), str(path))


def same(text, value):
    return text == "" if math.isnan(value) else float(text) == value


def label(entry):
    return entry["label"] + (
        f", seed {entry['seed']}" if entry["id"].startswith("wanda-80") else ""
    )


def by_hand_holm(p):
    """Holm's adjustment, the other way round: the largest p first."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted = [0.0] * len(p)
    for rank, index in enumerate(order):
        adjusted[index] = max(min(1, (len(p) - r) * p[order[r]]) for r in range(rank + 1))
    return adjusted


def test_numbers_are_those_of_compare(real):
    rows = read_csv(real / "report" / "verdicts.csv")
    table = Page(real / "report" / "index.html").tables["All comparisons"][1:]
    cells = {row["cell"]: row for row in read_csv(real / "report" / "cells.csv")}
    dense = result(real / "dense" / "scores.json")
    assert len(rows) == len(table) > 0
    by_value = {
        (row["cell"], row["task"], row["metric"]): (row, shown)
        for row, shown in zip(rows, table, strict=True)
    }
    seen = 0
    for entry in json.loads((real / "kick.json").read_text())["cells"]:
        scored = result(real / "cells" / entry["id"] / "scores.json")
        comparison = cupel.compare(dense, scored)
        for one in comparison.tasks:
            row, shown = by_value[entry["id"], one.task, one.metric]
            seen += 1
            assert (shown[0][0], shown[2][0]) == (label(entry), one.metric)
            assert row["verdict"] == one.verdict
            for name in ("dense", "compressed", "difference", "standard_error", "low", "high"):
                assert same(row[name], getattr(one, name)), name
            assert same(row["p"], one.p)
            assert same(row["minimum_detectable_effect"], one.minimum_detectable_effect)
            assert int(row["right_to_wrong"]) == one.flips.right_to_wrong
            assert int(row["wrong_to_right"]) == one.flips.wrong_to_right
            assert int(row["changed_wrong"]) == one.flips.changed_wrong
            assert int(row["score_matches"]) == cupel.matching(one.dense, one.compressed)
            exact = [float(cell[1]) for cell in shown[4:8]]
            assert exact == [one.dense, one.compressed, one.difference, one.low]
            assert shown[5][0] == f"{one.compressed:.4f}"
            assert shown[15][0] == one.verdict
        (loss,) = comparison.perplexities
        cell = cells[entry["id"]]
        assert float(cell["perplexity:perplexity"]) == loss.compressed
        assert float(cell["ratio:perplexity"]) == loss.ratio
        assert float(cell["ratio_low:perplexity"]) == loss.ratio_low
        assert cell["fingerprint"] == scored.model.fingerprint
    assert seen == len(rows)
    # Models x tasks are one family; whatever else there is counts among all.
    adjusted = dict(enumerate(by_hand_holm([float(row["p"]) for row in rows])))
    main = [place for place, row in enumerate(rows) if row["headline"] == "1"]
    assert len(main) == 2 * len(CELLS) < len(rows)
    own = by_hand_holm([float(rows[place]["p"]) for place in main])
    adjusted |= dict(zip(main, own, strict=True))
    shown = [float(row["p_holm_grid"]) for row in rows]
    assert shown == pytest.approx([adjusted[place] for place in range(len(rows))], rel=1e-12)
    assert any(row["broken"] == "1" for row in rows) and any(row["broken"] == "0" for row in rows)
    for row in rows:
        worse = float(row["high"]) < 0 and float(row["p_holm_grid"]) < 0.05
        assert row["significant_loss"] == str(int(worse))
        assert row["broken"] == str(int(worse and row["score_matches"] == "0"))


def test_marks_stand_where_their_scores_are(real):
    """A mark's place, turned back into a share of the dense score."""
    page = (real / "report" / "index.html").read_text(encoding="utf-8")
    rows = {
        (row["cell"], row["task"]): row
        for row in read_csv(real / "report" / "verdicts.csv")
        if row["headline"] == "1" and row["kind"] == "sparsity"
    }
    svg = re.search(r"<svg[^>]*aria-label=\"multiple_choice: share[^>]*>(.*?)</svg>", page, re.S)
    ticks = re.findall(r'<text class="tick" x="38" y="([\d.]+)"[^>]*>([\d.]+) %</text>', svg[1])
    (y0, at0), (y1, at1) = [(float(y) - 4, float(text) / 100) for y, text in (ticks[0], ticks[-1])]
    marks = re.findall(
        r'<g class="mark s0"><circle cx="[\d.]+" cy="([\d.]+)" r="[\d.]+"/><title>magnitude (\d+)', svg[1]
    )  # fmt: skip
    assert [level for _, level in marks] == ["50", "80"]
    for y, level in marks:
        share = at0 + (float(y) - y0) / (y1 - y0) * (at1 - at0)
        row = rows[f"magnitude-{level}-s0", "multiple_choice"]
        assert share == pytest.approx(float(row["kept"]), abs=0.002)


def test_page_needs_nothing_else(real):
    page = Page(real / "report" / "index.html")
    assert page.links and all(link.startswith("#") for link in page.links)
    targets = set(re.findall(r' id="([^"]+)"', page.source))
    assert {link[1:] for link in page.links} <= targets
    assert not re.search(r"url\(|@import|https?:", page.source)
    (script,) = page.scripts
    policy = re.search(r"script-src ('sha256-[^']+')", page.source)[1]
    assert policy == sha256_source(script)  # to the byte, or a browser will not run it


def test_same_folder_same_bytes(real, tmp_path):
    copy = shutil.copytree(real, tmp_path / "grid", ignore=shutil.ignore_patterns("report"))
    written = write_html_report(copy)
    assert list(written) == ["cells.csv", "verdicts.csv", "report.md", "report.tex", "index.html"]
    for name, path in written.items():
        # The place of the data is in kick.json, and so the same.
        assert path.read_bytes() == (real / "report" / name).read_bytes(), name
    assert sorted(p.name for p in (copy / "report").iterdir()) == sorted(written)


def test_everything_has_its_place(real):
    page = Page(real / "report" / "index.html")
    assert len(page.tables["Verdicts"]) == len(CELLS) + 1
    (seeds,) = [row for row in page.tables["Seeds"][1:] if row[2][0].startswith("multiple_choice")]
    values = [result(real / "cells" / f"wanda-80-s{s}" / "scores.json") for s in (0, 1)]
    values = [v.metrics["multiple_choice"]["strict"]["accuracy"] for v in values]
    assert [float(cell[1]) for cell in seeds[4:7]] == [min(values), sum(values) / 2, max(values)]
    heat = page.tables["multiple_choice: accuracy"]
    dense = result(real / "dense" / "scores.json").metrics["multiple_choice"]["strict"]
    mine = result(real / "cells" / "magnitude-80-s0" / "scores.json").metrics
    mine = mine["multiple_choice"]["strict"]
    column = [cell[0] for cell in heat[0]].index("magnitude 80 %")
    for row in heat[1:]:
        name = f"accuracy/{row[0][0]}"
        assert float(row[column][1]) == mine[name] - dense[name]
    flags = {(row[0][0], row[1][0]): row for row in page.tables["Flags"][1:]}
    head = [cell[0] for cell in page.tables["Flags"][0]]
    lost = result(real / "cells" / "magnitude-80-s0" / "scores.json").metrics["generation"][
        "strict"
    ]
    share = lost["flag_no_stop"] / lost["items"]
    assert float(flags["magnitude 80 %", "generation"][head.index("no stop")][1]) == share
    sizes = {row[0][0]: row for row in page.tables["Sizes"][1:]}
    record = json.loads((real / "cells" / "rtn-2bits-s0" / "cell.json").read_text())
    assert float(sizes["rtn 2 bits"][3][1]) == record["bits_per_weight"]
    settings = {row[0][0]: row[1][0] for row in page.tables["Settings"][1:]}
    assert settings["settings.calibration.samples"] == "8"
    fields = {(row[0][0], row[1][0]): row[2][0] for row in page.tables["Tasks"][1:]}
    quiz = hashlib.sha256((real / "quiz.jsonl").read_bytes()).hexdigest()
    assert fields["multiple_choice", "data.sha256"] == quiz
    assert "torch" in page.tables["Environment"][1][1][0]


def test_examples_show_questions_while_the_data_are_the_same(real, tmp_path):
    words = Page(real / "report" / "index.html").words()
    choices = json.loads((real / "quiz.jsonl").read_text().splitlines()[0])["choices"]
    assert "(0) " in words and "(3) " in words and len(choices) == 4
    copy = shutil.copytree(real, tmp_path / "grid", ignore=shutil.ignore_patterns("report"))
    kick = json.loads((copy / "kick.json").read_text())
    kick["tasks"] = [task.replace(str(real), str(copy)) for task in kick["tasks"]]
    write_json(copy / "kick.json", kick)
    with (copy / "quiz.jsonl").open("a") as file:
        file.write("\n")
    write_html_report(copy)
    changed = Page(copy / "report" / "index.html").words()
    assert "quiz.jsonl is no longer the file that was evaluated" in changed
    assert "(0) " not in changed
    assert "right → wrong" in changed


def plain(real, target, *names):
    cell = real / "cells" / "magnitude-80-s0"
    target.mkdir()
    shutil.copy(cell / "scores.json", target)
    if "comparison" in names:
        comparison = cupel.compare(result(real / "dense/scores.json"), result(cell / "scores.json"))
        (target / "comparison.json").write_text(comparison.to_json(), encoding="utf-8")
    if "dense" in names:
        shutil.copytree(real / "dense", target / "dense")
    write_html_report(target)
    return Page(target / "report" / "index.html"), read_csv(target / "report" / "verdicts.csv")


def test_folders_of_one_evaluation(real, tmp_path):
    both, rows = plain(real, tmp_path / "both", "comparison", "dense")
    stored, others = plain(real, tmp_path / "stored", "comparison")
    for row in [*rows, *others]:
        assert row.pop("method") in ("both", "stored")  # the folders' names
    assert rows == others and len(rows) > 0
    left, right = (page.tables["All comparisons"] for page in (stored, both))
    assert [row[1:] for row in left] == [row[1:] for row in right]
    assert "Flips" in both.tables
    alone, none = plain(real, tmp_path / "alone")
    assert none == [] and "there is no other model to compare it with" in alone.words()
    accuracy = [row for row in alone.tables["Scores"] if row[2][0] == "accuracy"]
    kept = result(real / "cells/magnitude-80-s0/scores.json").metrics["multiple_choice"]["strict"]
    assert float(accuracy[0][3][1]) == kept["accuracy"]


def test_command(real, tmp_path, command):
    done = command("report", real, "--out", tmp_path / "page")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == (
        f"Written to {tmp_path / 'page'}: cells.csv, verdicts.csv, report.md, report.tex, index.html.\n"
    )
    done = command("report", tmp_path / "page")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("cupel: [report] DIR must hold kick.json")


@pytest.mark.parametrize("width", [400, 1280])
def test_no_sideways_scroll_in_a_browser(real, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, to lay the page out")
    page = (real / "report" / "index.html").read_text(encoding="utf-8")
    page = re.sub(r"<meta http-equiv[^>]*>", "", page)  # lets the measuring script run
    page = page.replace("<details>", "<details open>")
    page = page.replace(
        "</body>", "<script>document.title = document.body.scrollWidth</script></body>"
    )
    page = page.replace("</style>", f"html {{ width: {width}px; }}</style>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    done = subprocess.run(
        [browser, *options, f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    title = re.search(r"<title>(\d+)</title>", done.stdout)
    assert title, done.stderr[-500:]
    assert int(title[1]) <= width
