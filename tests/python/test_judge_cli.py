"""`cupel judge`, as it is typed."""

import json
import re
import shutil
from pathlib import Path

import cupel
import pytest
from cupel import touchstone
from judge_helpers import Stub, Table, serving, write_jsonl


@pytest.fixture
def folder(tmp_path):
    data = write_jsonl(
        tmp_path / "generation.jsonl",
        [{"id": f"q{i}", "prompt": f"say {i}.", "category": "ab"[i % 2]} for i in range(4)],
    )
    for name in ("run", "dense"):
        table = {f"say {i}.": f"{name} {i}" for i in range(4)}
        cupel.evaluate(
            Table(table, name), [f"generation:file={data}"], record=tmp_path / name / "records"
        )
    return tmp_path / "run"


def test_an_endpoint_grades_pairs_and_the_table_says_what_it_knows(folder, command, tmp_path):
    stub = Stub(reply=lambda body: "Well. [[A]]")
    with serving(stub) as url:
        done = command(
            "judge", folder, "--judge", f"openai:{url},gpt-x", "--mode", "pairwise", "--against",
            tmp_path / "dense", "--data", tmp_path, "--prices", "1,2",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"generation +win +0.5 ", done.stdout)
    assert "of 4 pairs 4 changed with the order" in done.stdout
    assert "8 requests, 8 of them asked now; 800 prompt tokens and 80 reply" in done.stdout
    out = folder / "judged" / "pairwise"
    assert sorted(path.name for path in out.iterdir()) == [
        "judge.json", "judgments.jsonl", "replies.jsonl", "scores.json",
    ]  # fmt: skip
    scores = cupel.EvalResult.from_json((out / "scores.json").read_text())
    assert scores.metrics["generation"]["pairwise"]["first_twice"] == 4


def test_a_queue_is_pending_and_then_scored(folder, command, tmp_path):
    queue = tmp_path / "queue"
    line = ("judge", folder, "--judge", f"queue:{queue}", "--data", tmp_path, "--repeats", 2)
    done = command(*line)
    assert done.returncode == 1
    assert "8 of 8 replies are pending; nothing was scored" in done.stderr
    assert f"{queue}/replies.jsonl" in done.stderr
    asked = [json.loads(text) for text in (queue / "requests.jsonl").read_text().splitlines()]
    write_jsonl(
        queue / "replies.jsonl",
        [
            {"id": e["id"], "text": f"[[{5 + e['seed']}]]" if i else "?"}
            for i, e in enumerate(asked)
        ],
    )
    done = command(*line)
    assert done.returncode == 0, done.stderr
    assert "8 judgments, 1 of them unparsed" in done.stdout and "judge error" in done.stdout


def test_a_local_model_is_a_judge(folder, command, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(touchstone.folder(), model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    line = ("judge", folder, "--judge", f"local:{model}", "--data", tmp_path, "--max-tokens", 4)
    done = command(*line)
    assert done.returncode == 2 and "no chat template" in done.stderr, done.stderr
    # A short template: the model has few positions.
    short = {"name": "x", "type": "single", "system_prompt": "", "prompt_template": "{answer}"}
    templates = write_jsonl(tmp_path / "t.jsonl", [short | {"output_format": "[[rating]]"}])
    done = command(*line, "--template", "vicuna_v1.1", "--templates", templates)
    assert done.returncode == 0, done.stderr
    assert "4 judgments" in done.stdout and "reply tokens" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--judge", "gpt-4"], 2, "openai:URL,MODEL, queue:FOLDER or local:MODEL"),
        (["--judge", "openai:http://localhost"], 2, "names a model"),
        (["--judge", "queue:q", "--mode", "pairwise"], 2, "add --against"),
        (["--judge", "queue:q", "--parser", "none"], 1, "unknown judge parser 'none'"),
        (["--judge", "queue:q", "--prices", "1"], 2, "PROMPT,REPLY"),
        (["--judge", "queue:q", "--templates", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["--judge", "openai:http://h/v1,m", "--max-cost", "1"], 1, "max_cost needs prices"),
    ],
)
def test_mistakes_are_one_line(folder, command, tmp_path, arguments, code, says):
    done = command("judge", folder, "--data", tmp_path, *arguments, cwd=tmp_path)
    assert done.returncode == code and says in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_that_is_not_there_is_refused(command):
    done = command("judge", Path("nowhere"), "--judge", "queue:q")
    assert done.returncode == 2 and "nowhere" in done.stderr
