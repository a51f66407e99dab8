"""factoid_qa and retrieval_qa on the model that comes with cupel, and their readers on real data."""

import json
import tarfile

import cupel
import pytest
from cupel import touchstone


@pytest.fixture(scope="module")
def scorer():
    folder = touchstone.folder()
    return cupel.ModelScorer(cupel.load_model(folder), cupel.load_tokenizer(folder))


def write_freebase(path, *questions):
    made = [
        {
            "Question-ID": f"q{i}",
            "RawQuestion": question,
            "Parses": [{"Answers": [{"AnswersName": names}]} for names in parses],
        }
        for i, (question, *parses) in enumerate(questions)
    ]
    path.write_text(json.dumps({"Questions": made}), encoding="utf-8")
    return path


def recorded(folder, task):
    """The lines of a record by item."""
    lines = (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["item"]: line for line in map(json.loads, lines) if "item" in line}


def test_factoid_qa_end_to_end(scorer, tmp_path):
    limit = scorer.measure().limit
    data = write_freebase(
        tmp_path / "FreebaseQA-eval.json",
        ("Who is Tom?", ["tom"]),
        ("Who has a ball?", ["no such answer"], ["another one"]),
        ("Why is that?",),
        ("Who? " * (limit // 3), ["no such answer"]),
        ("Who? " * limit, ["no such answer"]),
    )
    result = cupel.evaluate(
        scorer, [f"factoid_qa:file={tmp_path},max_new_tokens=3"], record=tmp_path / "record"
    )
    paper, strict = (result.metrics["factoid_qa"][p] for p in ("paper", "strict"))
    assert paper["items"] == strict["items"] == 5
    assert (paper["flag_prompt_leak"], "flag_prompt_leak" in strict) == (1, False)
    assert paper["flag_no_gold"] == strict["flag_no_gold"] == 1
    assert paper["flag_question_too_long"] == strict["flag_question_too_long"] == 1
    assert paper["flag_budget_cut"] == 1
    assert "flag_budget_unknown" not in paper
    assert paper["kick_substring"] == 0.2  # by the leak alone
    assert strict["accuracy"] == strict["contains"] == strict["substring"] == 0
    lines = recorded(tmp_path / "record", "factoid_qa")
    for i, question in enumerate(json.loads(data.read_text())["Questions"][:4]):
        prompt = f"Please give answer to this question: {question['RawQuestion']}\nThe answer is "
        room = limit - scorer.measure().count(prompt)
        free = scorer.generate([prompt], max_new_tokens=min(2 * (limit - room), room))[0]
        line = scorer.generate([prompt], max_new_tokens=3, stop=["\n"])[0]
        protocols = lines[f"q{i}"]["protocols"]
        assert protocols["paper"]["prediction"] == free.text.strip()
        assert protocols["strict"]["prediction"] == line.text.strip()
    assert lines["q4"]["requests"] == []


def test_retrieval_qa_end_to_end(scorer, tmp_path):
    story = "Tom has a red ball. " * scorer.measure().limit
    rows = [
        {"question": "What does Tom have?", "answer": "a ball", "context": "Tom has a ball."},
        {"question": "What does Tom have?", "answer": "a ball", "context": story},
        {"question": "What does Tom have?", "answer": "a box", "context": story},
    ]
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tasks = [f"retrieval_qa:file={data},cut=all", f"retrieval_qa:book=closed,file={data}"]
    result = cupel.evaluate(scorer, tasks)
    for protocol, exact in (("paper", "em_kick"), ("strict", "em")):
        opened, closed = (result.metrics[task][protocol] for task in tasks)
        assert opened["items"] == closed["items"] == 3
        assert opened["flag_evidence_cut"] == 2 and "flag_evidence_cut" not in closed
        assert opened["answer_in_evidence"] == pytest.approx(2 / 3)
        assert "answer_in_evidence" not in closed
        for metrics in (opened, closed):
            assert {exact, "f1", "empty"} <= set(metrics)
            assert metrics.get("flag_empty_answer", 0) == 3 * metrics["empty"]
    prompt = (
        "Tom has a ball.\n\nBased on these texts, answer these questions:\n\n"
        "Q: What does Tom have?\nA:"
    )
    first = scorer.generate([prompt], max_new_tokens=32)[0].text.strip().split("\n")[0]
    assert result.items(tasks[0], "paper")[0].prediction == first.strip()


class Silent(cupel.Scorer):
    """Answers nothing."""

    def info(self):
        model = cupel.TokenModelInfo(vocabulary=1, max_length=1, fingerprint="silent")
        return cupel.ScorerInfo(model, "none", {})

    def generate(self, prompts, **_):
        return [cupel.Generation("", 0, "end", ["empty"]) for _ in prompts]


def test_saying_nothing_is_always_right_by_the_published_rule_and_shows(tmp_path):
    data = tmp_path / "own.jsonl"
    data.write_text('{"question": "Who?", "answer": "Tom", "context": "Tom."}', encoding="utf-8")
    metrics = cupel.evaluate(Silent(), [f"retrieval_qa:file={data}"]).metrics["retrieval_qa"]
    assert metrics["paper"]["em_kick"] == 1 and metrics["paper"]["f1"] == 0
    assert metrics["paper"]["empty"] == metrics["strict"]["empty"] == 1
    assert metrics["strict"]["em"] == 0


def load(name, path, **options):
    task = cupel.make_task(name)
    return task, task.load(path, {key: str(value) for key, value in options.items()})


def only_prompt(task, item, protocol="paper"):
    (request,) = task.requests(item, protocol)
    return request.generation.prompt


@pytest.mark.parametrize(("option", "joint"), [("newline", "\n"), ("space", " ")])
def test_the_whole_of_freebaseqa(shared_path, option, joint):
    folder = shared_path("data/freebaseqa")
    file = folder / "FreebaseQA-eval.json"
    questions = json.loads(file.read_text(encoding="utf-8"))["Questions"]
    task, items = load("factoid_qa", folder, prompt=option)
    assert len(items) == len(questions) > 3900
    leaks = 0
    for item, question in zip(items, questions, strict=True):
        assert item.id == question["Question-ID"]
        prompt = (
            f"Please give answer to this question: {question['RawQuestion']}{joint}The answer is "
        )
        assert only_prompt(task, item) == only_prompt(task, item, "strict") == prompt
        first = question["Parses"][0]["Answers"][0]["AnswersName"]
        every = [n for p in question["Parses"] for a in p["Answers"] for n in a["AnswersName"]]
        assert item.list("first") == first
        assert item.list("union") == list(dict.fromkeys(every))
        whole = prompt.strip().replace(" ", "").lower()
        leak = any(gold.strip().replace(" ", "").lower() in whole for gold in first)
        score = task.score(item, "paper", [cupel.TaskOutput(generation=cupel.Generation(""))])
        assert ("prompt_leak" in score.flags) == leak == (score.values["kick_substring"] == 1)
        leaks += leak
    assert 0 < leaks < 200


@pytest.mark.parametrize("name", ["triviaqa_small", "triviaqa_sm_sub"])
def test_lines_with_the_prompt_as_context(shared_path, name):
    folder = shared_path("data/triviaqa")
    rows = [
        json.loads(line) for line in (folder / f"{name}.jsonl").read_bytes().strip().split(b"\n")
    ]
    task, items = load("retrieval_qa", folder, split=name, book="closed")
    assert len(items) == len(rows) > 30
    for item, row in zip(items, rows, strict=True):
        question = row["context"].removeprefix("Question: ").removesuffix("\nAnswer:")
        assert only_prompt(task, item) == f"Answer these questions:\n\nQ: {question}\nA:".strip()
        answers = [row["answer"], *row["aliases"]]
        assert item.list("gold") == list(dict.fromkeys(map(cupel.normalize_answer, answers)))
    with pytest.raises(cupel.FormatError, match="book=closed"):
        load("retrieval_qa", folder, split=name)
    with pytest.raises(cupel.FormatError, match=r"triviaqa_sample.json, triviaqa_sm_sub.jsonl"):
        load("retrieval_qa", folder)


def test_the_official_sample_and_its_evidence(shared_path, tmp_path):
    archive = shared_path("data/triviaqa/triviaqa-sample.tgz")
    with pytest.raises(cupel.FormatError, match="unpack it"):
        load("retrieval_qa", archive)
    with tarfile.open(archive) as packed:
        # Python 3.11.2, Debian's, knows no filters; later ones warn without.
        packed.extractall(
            tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    seen = 0
    for file in sorted((tmp_path / "qa").glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))["Data"]
        task, items = load("retrieval_qa", tmp_path, split=file.stem)
        assert [item.id for item in items] == [row["QuestionId"] for row in rows]
        for item, row in zip(items, rows, strict=True):
            texts = [
                (tmp_path / "evidence" / folder / pages[0]["Filename"]).read_text(encoding="utf-8")
                for folder, pages in (
                    ("wikipedia", row.get("EntityPages", [])),
                    ("web", row.get("SearchResults", [])),
                )
                if pages
            ]
            evidence = "".join(texts)[:3072]
            prompt = (
                f"{evidence}\n\nBased on these texts, answer these questions:\n\n"
                f"Q: {row['Question']}\nA:"
            )
            assert only_prompt(task, item) == prompt.strip()
            assert item.list("gold") == row["Answer"]["NormalizedAliases"]
            seen += 1
    assert seen == 11
    sample = shared_path("data/triviaqa/triviaqa_sample.json")
    with pytest.raises(cupel.FormatError, match='no folder "evidence" beside it'):
        load("retrieval_qa", sample)
    task, items = load("retrieval_qa", sample, book="closed")
    assert [item.id for item in items] == ["tc_33"]
    task, items = load("retrieval_qa", sample, evidence=tmp_path / "evidence", order="web")
    assert only_prompt(task, items[0]).startswith(
        (tmp_path / "evidence/web/35/35_995.txt").read_text(encoding="utf-8")[:3000].strip()
    )
