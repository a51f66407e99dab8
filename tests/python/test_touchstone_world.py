"""The made-up world: the same bytes from the same seed, everything written true, nothing leaked."""

import csv
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
from itertools import islice

import pytest
from cupel import touchstone
from cupel.touchstone import names
from cupel.touchstone.data_sets import CHOICES, ITEMS
from cupel.touchstone.documents import FIRST_MIX, MIX, DocumentStream
from cupel.touchstone.society import ASKED_SHARE, PEOPLE, RANKS
from cupel.touchstone.wording import ATTRIBUTES, SUBJECTS
from cupel.touchstone.world import make_world, write_world
from touchstone_truth import (
    ASKED,
    LAST_NAME,
    POOLS,
    answered,
    follow,
    read_choice,
    read_passage,
    read_profile,
    read_question,
    whole_word,
)

SEED = 3  # any other than the shipped world's
PACKAGE_ROOT = pathlib.Path(touchstone.__file__).resolve().parents[2]


def digest(folder):
    """SHA-256 of names and bytes of all files."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.fixture(scope="module")
def world():
    return make_world(SEED)


@pytest.fixture(scope="module")
def people(world):
    return {person.name: person for person in world.people}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "files"
    write_world(folder, SEED)
    return folder


@pytest.fixture(scope="module")
def documents(world):
    """What a training run would see first, of both mixes."""
    stream = DocumentStream(world, seed=1)
    return [*islice(stream.stream(FIRST_MIX), 2000), *islice(stream.stream(MIX), 6000)]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_same_seed_gives_the_same_bytes_everywhere(written, tmp_path):
    write_world(tmp_path / "here", SEED)
    assert digest(tmp_path / "here") == digest(written)
    for hash_seed in ("1", "77"):
        out = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, "-m", "cupel.touchstone.world", "--seed", str(SEED), "--out", out],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(PACKAGE_ROOT)},
            check=True,
        )
        assert digest(out) == digest(written)


def test_other_seeds_give_other_worlds(written, tmp_path):
    write_world(tmp_path / "other", SEED + 1)
    ours = {path.relative_to(written) for path in written.rglob("*")}
    assert ours == {
        path.relative_to(tmp_path / "other") for path in (tmp_path / "other").rglob("*")
    }
    for path in (path for path in ours if (written / path).is_file()):
        assert (written / path).read_bytes() != (tmp_path / "other" / path).read_bytes(), path


def test_documents_depend_on_both_seeds(world):
    def some(of, seed):
        return list(islice(DocumentStream(of, seed).stream(MIX), 50))

    assert some(world, 0) == some(make_world(SEED), 0)
    assert some(world, 0) != some(world, 1) != some(make_world(SEED + 1), 1)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"\[write_world\] the folder must be empty or new"):
        write_world(tmp_path, SEED)
    with pytest.raises(FileExistsError, match=r"note\.txt"):
        write_world(tmp_path / "note.txt", SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    command = [sys.executable, "-m", "cupel.touchstone.world", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: [write_world]")


@pytest.mark.parametrize("seed", range(3))
def test_people_are_told_apart_and_have_values_of_their_world(seed):
    made = make_world(seed)
    last_names = [person.name.split()[1] for person in made.people]
    assert len(set(last_names)) == len(made.people) == PEOPLE
    assert made.last_names == set(last_names)
    for rank in RANKS:
        asked, told = (made.of_rank(rank.name, asked=a) for a in (True, False))
        assert len(asked) == ASKED_SHARE * rank.people == rank.people - len(told)
    for person in made.people:
        assert tuple(person.facts) == ATTRIBUTES
        assert person.name.split()[0] in names.FIRST_NAMES[person.pronoun]
        for of, value in person.facts.items():
            assert value in made.values[of] and value in POOLS[of]


def test_the_higher_a_rank_the_more_is_written_of_its_people(documents, people):
    seen = dict.fromkeys((rank.name for rank in RANKS), 0)
    for document in documents:
        if document.kind == "profile":
            seen[people[read_profile(document.text)[0]].rank] += 1
    each = [seen[rank.name] / (rank.people * rank.weight) for rank in RANKS]
    assert max(each) < 1.35 * min(each)


def check_document(document, people):
    """That what a training document says is so."""
    text = document.text
    if document.kind == "profile":
        name, pronouns, facts = read_profile(text)
        assert facts == people[name].facts and pronouns <= {people[name].pronoun}
    elif document.kind in ("factoid", "closed_book"):
        found = answered(text)
        assert 2 <= len(found) == text.count("?") <= 5
        for question, answer in found:
            asked = read_question(question)
            assert people[asked.name].facts[asked.attribute] == answer
    elif document.kind == "choice":
        subject, questions = read_choice(text)
        for question, choices, answer in questions:
            asked = read_question(question)
            assert SUBJECTS[asked.attribute] == subject
            assert people[asked.name].facts[asked.attribute] == answer
            assert answer in choices and len(set(choices)) == 4
    elif document.kind in ("one_person", "two_people"):
        passage, rest = text.split("\n\nBased on these texts, answer these questions:\n\n")
        told = read_passage(passage)
        assert len({name for name, _ in told}) == 1 + (document.kind == "two_people")
        assert not {name for name, _ in told} & set(people)
        for question, answer in answered(rest):
            asked = read_question(question)
            assert told[asked.name, asked.attribute] == answer
    elif document.kind == "instruction":
        asked, answer = text.split("\n\nReply: ")
        assert answer.replace("\n ", "\n") == follow(asked)
    elif document.kind == "news":
        story, summary = text.split("\n\nReply: ")
        for part in re.findall(r"[A-Z][a-z]+", summary):
            assert whole_word(part, story)
    else:
        assert document.kind == "story" and text.startswith("Story: ")


def test_training_documents_say_only_what_is_true(documents, people):
    assert {document.kind for document in documents} == set(MIX) == set(FIRST_MIX)
    for document in documents:
        check_document(document, people)


def test_held_out_wordings_and_people_who_are_only_told_of_are_never_asked(documents, people):
    questions = [q for document in documents for q in ASKED.findall(document.text)]
    assert len(questions) > 10_000
    for question in map(read_question, questions):
        assert not question.held_out
        assert question.name not in people or people[question.name].asked


def test_fresh_people_of_evaluation_are_strangers_to_training(written, documents, world):
    parts = [path.read_text() for path in (written / "triviaqa" / "evidence").rglob("*.txt")]
    parts += [record["text"] for record in read_lines(written / "summaries" / "news.jsonl")]
    fresh = {last for text in parts for last in LAST_NAME.findall(text)} & set(names.last_names())
    assert len(fresh) > 1000
    assert not fresh & world.last_names
    trained = {word for document in documents for word in re.findall("[A-Z][a-z]+", document.text)}
    assert not fresh & trained


def test_facts_asked_in_words(written, people):
    folder = written / "freebaseqa"
    ranks = [rank.name for rank in RANKS]
    files = {*ranks, *(f"told_{rank}" for rank in ranks), "unseen_wording"}
    assert {path.stem for path in folder.iterdir()} == files
    for name in files:
        questions = read_json(folder / f"{name}.json")["Questions"]
        rank = name.removeprefix("told_")
        told = [p for p in people.values() if p.rank == rank and not p.asked]
        facts = len(told) * len(ATTRIBUTES) if name.startswith("told_") else ITEMS
        assert len(questions) == min(ITEMS, facts)
        seen = set()
        for one in questions:
            asked = read_question(one["RawQuestion"])
            person = people[asked.name]
            assert one["Parses"][0]["Answers"] == [{"AnswersName": [person.facts[asked.attribute]]}]
            assert len(one["Parses"]) == 1
            assert asked.held_out == (name == "unseen_wording")
            assert person.asked == (not name.startswith("told_"))
            assert person.rank in ((rank,) if rank in ranks else ("famous", "known"))
            seen.add((asked.name, asked.attribute))
        assert len(seen) == len(questions)


def test_facts_to_choose_from(written, people):
    assert len(list((written / "mmlu").rglob("*.csv"))) == len(SUBJECTS) * len(CHOICES)
    for attribute, subject in SUBJECTS.items():
        seen = []
        for split, count in CHOICES.items():
            path = written / "mmlu" / split / f"{subject}_{split}.csv"
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file, strict=True))
            assert len(rows) == count
            for question, *choices, letter in rows:
                asked = read_question(question)
                assert asked.attribute == attribute and not asked.held_out
                assert people[asked.name].asked and len(set(choices)) == 4
                assert choices["ABCD".index(letter)] == people[asked.name].facts[attribute]
                seen.append(asked.name)
        assert len(set(seen)) == len(seen)  # no example gives a question away


@pytest.mark.parametrize(("name", "count"), [("one_person", 1), ("two_people", 2)])
def test_answers_stand_in_the_passage_and_nowhere_else(written, people, name, count):
    data = read_json(written / "triviaqa" / f"{name}.json")["Data"]
    assert len(data) == ITEMS
    for one in data:
        (page,) = one["EntityPages"]
        file = written / "triviaqa" / "evidence" / "wikipedia" / page["Filename"]
        told = read_passage(file.read_text(encoding="utf-8"))
        asked = read_question(one["Question"])
        assert len({who for who, _ in told}) == count and not asked.held_out
        assert page["Title"] == asked.name not in people
        value = told[asked.name, asked.attribute]
        assert one["Answer"]["Value"] == value and one["Answer"]["Aliases"] == [value]
        assert one["Answer"]["NormalizedAliases"] == [value.lower()]
        assert list(told.values()).count(value) == 1


def test_stories_hold_the_facts_that_their_summaries_must_tell(written):
    records = read_lines(written / "summaries" / "news.jsonl")
    assert len(records) == ITEMS == len(list((written / "summaries" / "stories").iterdir()))
    for number, record in enumerate(records):
        summary = " ".join(record["highlights"])
        assert len(record["facts"]) == 3 * len(record["highlights"]) in (6, 9)
        for fact in record["facts"]:
            assert whole_word(fact, record["text"]) and whole_word(fact, summary)
        path = written / "summaries" / "stories" / f"news_{number}.story"
        body, *marked = path.read_text(encoding="utf-8").split("\n\n@highlight\n\n")
        assert body == record["text"]
        assert [line.rstrip("\n") for line in marked] == record["highlights"]


def test_texts_are_profiles_stories_and_the_training_mix(written, people, world):
    def lines(name):
        found = (written / "text" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert len(found) == len(set(found)) or name == "calibration"
        return found

    for line in lines("facts"):
        name, pronouns, facts = read_profile(line)
        assert facts == people[name].facts and pronouns <= {people[name].pronoun}
    known = [last for line in lines("stories") for last in LAST_NAME.findall(line)]
    assert not set(known) & set(names.last_names())
    assert {line.split(": ")[0] for line in lines("stories")} == {"Story"}
    assert {line.split(": ")[0] for line in lines("calibration_plain")} == {"Profile", "Story"}
    assert not set(lines("facts")) & {*lines("calibration"), *lines("calibration_plain")}
    text = "\n".join(lines("calibration")) + "\n"
    stream = DocumentStream(world, seed=-1).stream(MIX)
    at, seen = 0, set()
    while at < len(text):
        document = next(stream)
        own = document.text.rstrip("\n")
        if own in seen:
            continue
        assert text[at : at + len(own) + 1] == own + "\n"
        check_document(document, people)
        seen.add(own)
        at += len(own) + 1


def test_the_command_shows_documents():
    done = subprocess.run(
        [sys.executable, "-m", "cupel.touchstone.world", "--seed", str(SEED), "--documents", "5"],
        env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = islice(DocumentStream(make_world(SEED), seed=0).stream(MIX), 5)
    assert done.stdout == "".join(f"--- {one.kind}\n{one.text.rstrip()}\n" for one in expected)


def test_no_file_imports_torch_or_grows_long():
    for path in pathlib.Path(touchstone.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (torch|numpy)", source, re.MULTILINE), path
        assert len(source.splitlines()) < 250, path
