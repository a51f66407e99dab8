"""The world's files in cupel's tasks: all are read, training shows the prompts that tasks ask, right
answers are right, and the shipped model gives the scores that are told of it."""

import csv
import json
import re
import sys

import cupel
import pytest
from conftest import REPOSITORY, TINY_CONFIG, tiny_state_dict
from cupel import touchstone
from cupel.touchstone import prompts
from cupel.touchstone.documents import DocumentStream
from cupel.touchstone.wording import SUBJECTS
from cupel.touchstone.world import make_world, write_world
from touchstone_truth import follow

EXAMPLE = REPOSITORY / "examples" / "touchstone"
sys.path.append(str(EXAMPLE))
FOLDER = touchstone.folder()
TEMPLATE = "touchstone-test"  # the shipped model's own, under a name that no other test uses


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "files"
    write_world(folder, touchstone.WORLD_SEED)
    return folder


@pytest.fixture(scope="module", autouse=True)
def template():
    cupel.add_chat_template(TEMPLATE, cupel.chat_template(FOLDER))
    yield
    cupel.remove_chat_template(TEMPLATE)


def specs(written):
    """One of each task over each file that a world has."""
    found = {
        f"factoid_qa:file={path},max_new_tokens=8"
        for path in (written / "freebaseqa").glob("*.json")
    }
    for name in ("one_person", "two_people"):
        found.add(f"retrieval_qa:file={written}/triviaqa/{name}.json,order=wiki,max_new_tokens=8")
    found.add(f"mmlu:file={written}/mmlu,shots=0,full_text=1")
    for name in ("news.jsonl", "stories"):
        found.add(
            f"summarization:file={written}/summaries/{name},template={TEMPLATE},max_new_tokens=80"
        )
    found.add(
        f"instruction:file={written}/instructions/question.jsonl,template={TEMPLATE},"
        "temperature=0,max_new_tokens=24"
    )
    texts = (written / "text").glob("*.txt")
    return sorted(found) + [f"perplexity:file={path},length=64" for path in sorted(texts)]


def load(name, path, **options):
    task = cupel.make_task(name)
    return task, task.load(path, {key: str(value) for key, value in options.items()})


def asked(task, item):
    """The prompt of an item's first generation in strict."""
    return task.requests(item, "strict", [])[0].generation.prompt


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_choices(written, split="test"):
    """subject -> rows of MMLU's file."""
    found = {}
    for subject in SUBJECTS.values():
        path = written / "mmlu" / split / f"{subject}_{split}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            found[subject] = list(csv.reader(file, strict=True))
    return found


def test_every_file_is_read_by_its_task(written, tokenizer_model):
    config = TINY_CONFIG | {"max_position_embeddings": 1024}
    model = cupel.make_model(json.dumps(config), tiny_state_dict(config))
    # protocols=strict: LLM-KICK's draws at a temperature, which a random model makes long
    tasks = [t if t.startswith("perplexity") else f"{t},protocols=strict" for t in specs(written)]
    result = cupel.evaluate(model, cupel.load_tokenizer(tokenizer_model), tasks, limit=3)
    assert len(result.manifests) == len(tasks) == 9 + 2 + 1 + 2 + 1 + 4
    for name, manifest in result.manifests.items():
        if not name.startswith("perplexity"):
            assert manifest.items == 3, name
    assert len(result.perplexities) == 4


def test_factoid_prompts(written):
    path = written / "freebaseqa" / "known.json"
    task, items = load("factoid_qa", path)
    stream = DocumentStream(make_world(touchstone.WORLD_SEED), seed=31)
    document = stream.of_kind("factoid")
    for item, question in zip(items, read_json(path)["Questions"], strict=True):
        prompt = prompts.FACTOID.format(question=question["RawQuestion"])
        assert asked(task, item) == prompt + " "  # which the tokenizer drops
    for piece in document.pieces[::2]:
        question = re.search(r": (.+\?)\n", piece.text)[1]
        assert piece.text.lstrip("\n") == prompts.FACTOID.format(question=question)
    tokenizer = cupel.load_tokenizer(FOLDER)
    assert tokenizer.encode(prompt + " ") == tokenizer.encode(prompt)


@pytest.mark.parametrize("kind", ["one_person", "two_people"])
def test_open_book_prompts(written, kind):
    path = written / "triviaqa" / f"{kind}.json"
    task, items = load("retrieval_qa", path, order="wiki")
    pages = written / "triviaqa" / "evidence" / "wikipedia"
    for item, one in zip(items, read_json(path)["Data"], strict=True):
        evidence = (pages / one["EntityPages"][0]["Filename"]).read_text(encoding="utf-8")
        assert evidence.endswith(".")
        made = prompts.OPEN_BOOK.format(evidence=evidence, question=one["Question"])
        assert asked(task, item) == made
    first = DocumentStream(make_world(touchstone.WORLD_SEED), seed=32).of_kind(kind).pieces[0].text
    evidence, question = first.split("\n\n")[0], re.search(r"Q: (.+\?)\n", first)[1]
    assert first == prompts.OPEN_BOOK.format(evidence=evidence, question=question)


def test_closed_book_prompts(written):
    path = written / "triviaqa" / "one_person.json"
    task, items = load("retrieval_qa", path, book="closed")
    for item, one in zip(items, read_json(path)["Data"], strict=True):
        assert asked(task, item) == prompts.CLOSED_BOOK.format(question=one["Question"])
    stream = DocumentStream(make_world(touchstone.WORLD_SEED), seed=33)
    first = stream.of_kind("closed_book").pieces[0].text
    question = re.search(r"Q: (.+\?)\n", first)[1]
    assert first == prompts.CLOSED_BOOK.format(question=question)


def test_choice_prompts(written):
    task, items = load("mmlu", written / "mmlu", shots=0, full_text=1)
    expected = [
        prompts.CHOICE_HEAD.format(subject=subject)
        + "\n\n"
        + prompts.CHOICE.format(*row[1:5], question=row[0])
        for subject, rows in sorted(read_choices(written).items())
        for row in rows
    ]
    requests = [task.requests(item, "strict", []) for item in items]
    assert [{one.context for one in each} for each in requests] == [{text} for text in expected]
    rows = [row for _, rows in sorted(read_choices(written).items()) for row in rows]
    for each, row in zip(requests, rows, strict=True):
        assert [one.continuation for one in each[-4:]] == [f" {choice}" for choice in row[1:5]]
    document = DocumentStream(make_world(touchstone.WORLD_SEED), seed=34).of_kind("choice")
    first = document.pieces[0].text + document.pieces[1].text
    head, block = first.split("\n\n")
    pattern = prompts.CHOICE.replace("{question}", "(.+)").replace("?", r"\?")
    match = re.fullmatch(re.sub(r"\{\d\}", "(.+)", pattern), block)
    assert block == prompts.CHOICE.format(*match.groups()[1:], question=match[1])
    assert head in [prompts.CHOICE_HEAD.format(subject=subject) for subject in SUBJECTS.values()]
    assert document.pieces[2].text in [f" {choice}" for choice in match.groups()[1:]]


def test_summary_and_instruction_prompts(written):
    records = read_lines(written / "summaries" / "news.jsonl")
    expected = [prompts.SUMMARY.format(text=one["text"]) + prompts.REPLY for one in records]
    task, items = load("summarization", written / "summaries" / "news.jsonl", template=TEMPLATE)
    assert [asked(task, item) for item in items] == expected
    task, items = load("summarization", written / "summaries" / "stories", template=TEMPLATE)
    assert sorted(asked(task, item) for item in items) == sorted(expected)  # highlights stripped
    path = written / "instructions" / "question.jsonl"
    task, items = load("instruction", path, template=TEMPLATE)
    for item, one in zip(items, read_lines(path), strict=True):
        assert asked(task, item) == one["turns"][0] + prompts.REPLY
    stream = DocumentStream(make_world(touchstone.WORLD_SEED), seed=35)
    news, instruction = (stream.of_kind(kind).pieces[0].text for kind in ("news", "instruction"))
    begin, end = prompts.SUMMARY.split("{text}")
    assert news.startswith(begin) and news.endswith(end + prompts.REPLY)
    assert instruction.endswith("." + prompts.REPLY)


class Table(cupel.Scorer):
    """Says what a table has for a prompt, and finds the continuations likely that it holds."""

    def __init__(self, answers, likely=frozenset()):
        super().__init__()
        self.answers, self.likely = answers, likely

    def info(self):
        model = cupel.TokenModelInfo(vocabulary=10, max_length=1000, fingerprint="table")
        return cupel.ScorerInfo(model, "none", {})

    def log_likelihood(self, requests):
        return [cupel.LogLikelihood(0.0 if one in self.likely else -9.0) for one in requests]

    def generate(self, requests):
        return [cupel.Generation(self.answers[one.prompt.rstrip()], 3, "end") for one in requests]


def knowing(written, change=lambda answer: answer):
    """A scorer that has every right answer, changed."""
    answers, likely = {}, set()
    for path in (written / "freebaseqa").glob("*.json"):
        for one in read_json(path)["Questions"]:
            prompt = prompts.FACTOID.format(question=one["RawQuestion"])
            answers[prompt] = " " + one["Parses"][0]["Answers"][0]["AnswersName"][0]
    for path in (written / "triviaqa").glob("*.json"):
        for one in read_json(path)["Data"]:
            page = written / "triviaqa/evidence/wikipedia" / one["EntityPages"][0]["Filename"]
            evidence = page.read_text(encoding="utf-8")
            prompt = prompts.OPEN_BOOK.format(evidence=evidence, question=one["Question"])
            answers[prompt] = " " + one["Answer"]["Value"]
    for one in read_lines(written / "summaries" / "news.jsonl"):
        prompt = prompts.SUMMARY.format(text=one["text"]) + prompts.REPLY
        answers[prompt] = " " + " ".join(one["highlights"])
    for one in read_lines(written / "instructions" / "question.jsonl"):
        answers[one["turns"][0] + prompts.REPLY] = " " + follow(one["turns"][0])
    for subject, rows in read_choices(written).items():
        for question, *choices, letter in rows:
            prompt = prompts.CHOICE.format(*choices, question=question)
            right = change(choices["ABCD".index(letter)])
            likely.add((f"{prompts.CHOICE_HEAD.format(subject=subject)}\n\n{prompt}", f" {right}"))
    return Table({prompt: change(answer) for prompt, answer in answers.items()}, likely)


VALUES = {
    "factoid_qa": "accuracy",
    "retrieval_qa": "em",
    "mmlu": "text_accuracy",
    "summarization": "facts",
    "instruction": "follows",
}


def values(written, scorer):
    """Task -> what counts of it."""
    tasks = [
        f"{text},protocols=strict"
        for text in specs(written)
        if not text.startswith("perplexity") and "summaries/stories" not in text
    ]
    result = cupel.evaluate(scorer, tasks)
    return {
        name: metrics["strict"][VALUES[name.split(":")[0]]]
        for name, metrics in result.metrics.items()
    }


def test_right_answers_are_right_and_wrong_ones_wrong(written):
    right = values(written, knowing(written))
    assert len(right) == 9 + 2 + 1 + 1 + 1 and set(right.values()) == {1}
    wrong = values(written, knowing(written, lambda answer: answer[:-1] + "x"))
    for name, value in wrong.items():
        # Of a summary's facts the last letter spoils one; no option is likelier, so the first is it.
        low, high = {"summarization": (0.8, 0.9), "mmlu": (0.1, 0.4)}.get(
            name.split(":")[0], (0, 0)
        )
        assert low <= value <= high, name


def test_the_shipped_model_has_the_scores_that_are_told_of_it(written):
    """The slow part: the first items of each task, greedy. measured-0.json has them by themselves."""
    pytest.importorskip("torch")
    import measure

    told = read_json(EXAMPLE / "measured-0.json")
    found = measure.score(FOLDER, written, limit=measure.FIRST)
    assert set(found) == set(told) == set(measure.TASKS)
    for label, one in found.items():
        assert told[label]["of"] == one["of"] and one["items"] == measure.FIRST
        if one["of"] == "perplexity":
            assert one["value"] == pytest.approx(told[label]["first"], rel=1e-3)
        else:  # two likeliest tokens may change places where sums are rounded otherwise
            assert one["value"] == pytest.approx(told[label]["first"], abs=1.01 / measure.FIRST)


def test_told_scores_are_those_that_the_model_was_made_for():
    own, other = (read_json(EXAMPLE / f"measured-{seed}.json") for seed in (0, 1))
    least = {
        "facts: famous": 0.95,
        "facts: obscure": 0.85,
        "multiple choice": 0.90,
        "open book: one person": 0.95,
        "summaries": 0.95,
        "instructions": 0.95,
    }
    for label, value in least.items():
        assert own[label]["value"] >= value, label
    # Wanted were 0.85, too: it takes either person's value, so no grid asks it (README there).
    assert own["open book: two people"]["value"] >= 0.5
    # Of another world the model knows nothing, and reads and follows as well as ever.
    for label, one in other.items():
        if label.startswith(("facts", "only told")):
            assert one["value"] <= 0.15, label
    assert other["multiple choice"]["value"] <= 0.40
    for label in ("open book: one person", "open book: two people", "summaries", "instructions"):
        assert other[label]["value"] >= own[label]["value"] - 0.08, label
