"""A small grid on the model that comes with cupel, for the tests of `cupel kick`."""

import csv
import json
import re
import shutil

from cupel import touchstone

# Changes from run to run, and is compared with nothing.
TIMES = ("seconds", "run", "time")


def write_data(folder):
    """Texts, questions and prompts in `folder`; the options of a grid over them."""
    files = touchstone.folder()
    for name, size in (("calibration", 30000), ("heldout", 6000)):
        text = (files / f"{name}.txt").read_text(encoding="utf-8")[:size]
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    people, things = ("Tom", "Anna", "A bear"), ["ball", "dog", "cat", "tree", "book", "cup"]
    quiz = [
        {"context": f"{people[i % 3]} has the", "choices": things[i % 3 : i % 3 + 3],
         "answer": i % 3, "id": f"q{i}"}
        for i in range(24)
    ]  # fmt: skip
    prompts = [{"prompt": f"{one} found a", "answers": things} for one in people]
    (folder / "quiz.jsonl").write_text("\n".join(map(json.dumps, quiz)))
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    return {
        "methods": ["magnitude", "wanda"],
        "sparsity": [0.5],
        "quantizers": ["rtn"],
        "bits": [4],
        "group": 64,
        "seeds": [0, 1],
        "calibration": str(folder / "calibration.txt"),
        "samples": 4,
        "length": 64,
        "text": str(folder / "heldout.txt"),
        "limit": 20,
        "tasks": [
            "perplexity:length=64",
            f"multiple_choice:file={folder}/quiz.jsonl",
            f"generation:file={folder}/prompts.jsonl,max_new_tokens=6",
        ],
    }


def flags(options):
    """The same options as flags of the command."""
    found = []
    for name, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        found += [f"--{name.replace('_', '-')}", text]
    return found


def own_model(folder):
    """A copy of the model that a test may change."""
    files = touchstone.folder()
    folder.mkdir()
    for path in files.iterdir():
        if path.suffix != ".txt":
            shutil.copyfile(path, folder / path.name)
    return folder


def without_times(value):
    """JSON without what two runs may differ in."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in TIMES}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def contents(out):
    """Relative path -> text of each file of a grid, times apart."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if path.suffix == ".json" and "model" not in path.parts:
            text = json.dumps(without_times(json.loads(path.read_text())), indent=1)
        elif path.suffix == ".jsonl":
            text = re.sub(r'"time":"[^"]*"', "", path.read_text())
        elif name == "report/cells.csv":
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            text = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]
        elif name == "report/report.md":  # seconds are the last two columns of a table
            text = re.sub(r"( \| [\d.,]+){2} \|$", "", path.read_text(), flags=re.MULTILINE)
        elif name == "report/index.html":  # the same tables once more
            text = "page"
        else:
            text = path.read_bytes()
        found[name] = text
    return found
