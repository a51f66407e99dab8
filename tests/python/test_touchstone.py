"""The made-up world is reproducible and true to itself, and the shipped files are what they say."""

import hashlib
import importlib.util
import itertools
import json
import pathlib
import random
import re
import subprocess
import sys

import pytest

PYTHON_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "python"
if importlib.util.find_spec("cupel") is None:
    sys.path.insert(0, str(PYTHON_FOLDER))

from cupel import touchstone  # noqa: E402
from cupel.touchstone import stories, texts, wording, world  # noqa: E402

PACKAGE_ROOT = str(pathlib.Path(touchstone.__file__).resolve().parents[2])

QUESTION_AND_ANSWER = re.compile(
    r"(?:Question: (.+?\?) Answer:|Please give answer to this question: (.+?\?) The answer is)"
    r" (.+?)\."
)


def some_documents(world_seed: int, text_seed: int, count: int = 300) -> list[str]:
    return list(itertools.islice(texts.documents(world.make_world(world_seed), text_seed), count))


def provenance() -> dict:
    return json.loads((touchstone.folder() / touchstone.PROVENANCE).read_text(encoding="utf-8"))


def lines(name: str) -> list[str]:
    return (touchstone.folder() / name).read_text(encoding="utf-8").splitlines()


def shipped_world() -> world.World:
    return world.make_world(provenance()["seeds"]["world"])


def test_same_seed_gives_the_same_world_and_documents():
    assert world.make_world(3) == world.make_world(3)
    assert some_documents(3, 5) == some_documents(3, 5)


def test_world_does_not_depend_on_the_hash_seed():
    code = "from cupel.touchstone.world import make_world; print(make_world(0))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": PACKAGE_ROOT},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{world.make_world(0)}\n"}


def test_other_seeds_give_other_worlds_and_documents():
    assert world.make_world(0) != world.make_world(1)
    assert some_documents(0, 0) != some_documents(0, 1)
    assert some_documents(0, 0) != some_documents(1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_names_are_unique_and_facts_point_at_entities(seed):
    made_up = world.make_world(seed)
    every_name = [entity.name for entity in made_up.entities]
    assert len(set(every_name)) == len(every_name)
    places = {entity.name for entity in made_up.of_kind("place")}
    people = {entity.name for entity in made_up.of_kind("person")}
    assert all(person.facts["birthplace"] in places for person in made_up.of_kind("person"))
    assert all(work.facts["author"] in people for work in made_up.of_kind("work"))
    assert all(work.facts["setting"] in places for work in made_up.of_kind("work"))


def test_a_quarter_is_frequent_and_is_written_about_more_often():
    made_up = world.make_world(0)
    for kind in ("person", "place", "work"):
        entities = made_up.of_kind(kind)
        assert sum(entity.frequent for entity in entities) == len(entities) // 4
    text = "\n".join(some_documents(0, 0, 4000))
    mentions = {True: [], False: []}
    for entity in made_up.of_kind("person"):
        mentions[entity.frequent].append(text.count(entity.name))
    mean = {frequent: sum(counts) / len(counts) for frequent, counts in mentions.items()}
    assert 3 < mean[True] / mean[False] < 7


def test_every_question_has_one_answer_and_it_is_true():
    made_up = world.make_world(0)
    asked = texts.questions(made_up)
    answers = {}
    for question in asked:
        assert question.answer == question.entity.facts[question.attribute]
        assert question.entity.name in question.text
        assert answers.setdefault(question.text, question.answer) == question.answer
    firsts = [question for question in asked if question.is_first_wording]
    assert len(firsts) == made_up.fact_count


def test_prompts_are_those_of_the_documents():
    question = texts.questions(world.make_world(0))[0]
    for form in range(len(wording.PROMPTS)):
        document = f"{texts.prompt(question.text, form)} {question.answer}."
        match = QUESTION_AND_ANSWER.fullmatch(document)
        assert match and (match[1] or match[2], match[3]) == (question.text, question.answer)


def untrue(document: str, answers: dict[str, str], sentences: set[str]) -> list[str]:
    """What a document says about the world that the world does not bear out."""
    if document.startswith(("Question:", "Please give answer")):
        matches = list(QUESTION_AND_ANSWER.finditer(document))
        assert " ".join(match[0] for match in matches) == document
        return [m[0] for m in matches if answers[m[1] or m[2]] != m[3]]
    return [s for s in re.findall(r"[^.]+\.", document) if s.strip() not in sentences]


def is_story(document: str) -> bool:
    return document.startswith(tuple(stories.TIMES.split("|")))


def check_true(made_up: world.World, documents: list[str]) -> None:
    answers = {question.text: question.answer for question in texts.questions(made_up)}
    sentences = {
        sentence
        for entity in made_up.entities
        for attribute in entity.facts
        for subject in (entity.name, entity.pronoun)
        for sentence in texts.statements(entity, attribute, subject)
    }
    about_the_world = [document for document in documents if not is_story(document)]
    assert len(about_the_world) > len(documents) / 2
    for document in about_the_world:
        assert untrue(document, answers, sentences) == [], document


def test_documents_say_only_what_is_true():
    check_true(world.make_world(1), some_documents(1, 0, 2000))


def test_description_names_its_entity_and_uses_its_own_facts():
    made_up = world.make_world(2)
    rng = random.Random(0)
    for entity in made_up.entities:
        document = texts.description(entity, rng)
        own = {
            sentence
            for attribute in entity.facts
            for subject in (entity.name, entity.pronoun)
            for sentence in texts.statements(entity, attribute, subject)
        }
        sentences = [sentence.strip() for sentence in re.findall(r"[^.]+\.", document)]
        assert entity.name in sentences[0]
        assert set(sentences) <= own


def test_command_prints_documents():
    done = subprocess.run(
        [sys.executable, "-m", "cupel.touchstone.world", "--seed", "0", "--documents", "5"],
        env={"PYTHONPATH": PACKAGE_ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == some_documents(0, 0, 5)


def test_no_file_imports_torch_or_grows_long():
    for path in pathlib.Path(touchstone.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (torch|numpy)", source, re.MULTILINE), path
        assert len(source.splitlines()) < 250, path


def test_every_shipped_file_is_there_and_matches_its_sha256():
    recorded = provenance()["sha256"]
    assert set(touchstone.FILES) == {*recorded, touchstone.PROVENANCE}
    assert {path.name for path in touchstone.folder().iterdir()} == set(touchstone.FILES)
    for name, expected in recorded.items():
        content = (touchstone.folder() / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected, name


def test_shipped_files_are_small():
    sizes = {name: (touchstone.folder() / name).stat().st_size for name in touchstone.FILES}
    assert sizes["model.safetensors"] <= 4_000_000
    assert 300_000 <= sizes[touchstone.CALIBRATION] <= 400_000
    assert 100_000 <= sizes[touchstone.HELDOUT] <= 150_000
    assert sum(sizes.values()) <= 5_000_000
    assert provenance()["parameters"] <= 1_000_000


def test_weights_are_float32_and_as_many_as_recorded():
    with (touchstone.folder() / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"F32"}
    size = max(tensor["data_offsets"][1] for tensor in header.values())
    assert size == 4 * provenance()["parameters"]


def test_heldout_documents_never_occur_in_calibration():
    heldout, calibration = lines(touchstone.HELDOUT), lines(touchstone.CALIBRATION)
    assert len(set(heldout)) == len(heldout)
    assert len(set(calibration)) == len(calibration)
    assert not set(heldout) & set(calibration)


def test_shipped_texts_are_true_in_the_shipped_world():
    check_true(shipped_world(), lines(touchstone.HELDOUT) + lines(touchstone.CALIBRATION))


def test_shipped_model_knows_its_world():
    facts = provenance()["facts"]["first_wording"]
    assert facts["frequent"]["accuracy"] >= 0.95
    assert facts["rare"]["accuracy"] > 0.5
