"""Writes what a world is asked as the files of the real tasks (docs/llm_kick.md has their forms)."""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cupel.touchstone.documents import (
    MIX,
    DocumentStream,
    ask,
    choices_for,
    passage_text,
    profile_text,
)
from cupel.touchstone.instructions import KEPT, draw_instruction
from cupel.touchstone.news import draw_news
from cupel.touchstone.society import RANKS, WEIGHTS, FreshPeople, Person, World
from cupel.touchstone.stories import story
from cupel.touchstone.wording import ATTRIBUTES, HELD_OUT, QUESTIONS, SUBJECTS

ITEMS = 240  # questions of each set
CHOICES = {"test": 60, "val": 10, "dev": 5}  # multiple-choice questions of each subject
TEXT_BYTES = 120_000
CALIBRATION_BYTES = 350_000


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pairs(rng: random.Random, people: list[Person], count: int) -> list[tuple[Person, str]]:
    """Different facts of these people, all of them where there are fewer than `count`."""
    facts = [(person, of) for person in people for of in ATTRIBUTES]
    return rng.sample(facts, min(count, len(facts)))


def _write_factoids(path: Path, asked: list[tuple[Person, str, str]]) -> None:
    """(person, attribute, question) in the form of FreebaseQA."""
    questions = []
    for index, (person, attribute, question) in enumerate(asked):
        key = f"{path.stem}-{index}"
        parse = {
            "Parse-Id": f"{key}.P0",
            "PotentialTopicEntityMention": person.name,
            "TopicEntityName": person.name,
            "InferentialChain": f"person.{attribute}",
            "Answers": [{"AnswersName": [person.facts[attribute]]}],
        }
        made = {"Question-ID": key, "RawQuestion": question, "ProcessedQuestion": question.lower()}
        questions.append({**made, "Parses": [parse]})
    _write_json(path, {"Dataset": path.stem, "Version": "1.0", "Questions": questions})


def write_facts(folder: Path, world: World, rng: random.Random) -> None:
    """Closed book: by rank, asked about or only told, and in wordings that nobody trained on."""
    for told, asked in (("", True), ("told_", False)):
        for rank in RANKS:
            pairs = _pairs(rng, world.of_rank(rank.name, asked=asked), ITEMS)
            asked_about = [(person, of, ask(rng, person, of)) for person, of in pairs]
            _write_factoids(folder / f"{told}{rank.name}.json", asked_about)
    people = [person for rank in ("famous", "known") for person in world.of_rank(rank, asked=True)]
    unseen = [
        (person, of, rng.choice(QUESTIONS[of][-HELD_OUT:]).format(name=person.name))
        for person, of in _pairs(rng, people, ITEMS)
    ]
    _write_factoids(folder / "unseen_wording.json", unseen)


def write_choices(folder: Path, world: World, rng: random.Random) -> None:
    """MMLU's CSV files: a subject for each attribute; all ranks alike."""
    people = [person for person in world.people if person.asked]
    for attribute, subject in SUBJECTS.items():
        chosen = iter(rng.sample(people, sum(CHOICES.values())))
        for split, count in CHOICES.items():
            path = folder / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                for _ in range(count):
                    person = next(chosen)
                    choices, place = choices_for(rng, world, person, attribute)
                    rows.writerow([ask(rng, person, attribute), *choices, "ABCD"[place]])


def write_open_book(folder: Path, world: World, rng: random.Random) -> None:
    """TriviaQA's JSON with evidence: passages about people whom nobody trained on."""
    fresh = FreshPeople(world, held_out=True)
    for count, name in ((1, "one_person"), (2, "two_people")):
        data = []
        for index in range(ITEMS):
            evidence, told = passage_text(rng, fresh.draw(rng, count))
            person, attribute = rng.choice(told)
            value = person.facts[attribute]
            page = f"{name}_{index}.txt"
            path = folder / "evidence" / "wikipedia" / page
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(evidence, encoding="utf-8")  # a line end would be in the prompt
            data.append(
                {
                    "Question": ask(rng, person, attribute),
                    "QuestionId": f"{name}-{index}",
                    "QuestionSource": "touchstone",
                    "Answer": {
                        "Value": value,
                        "Aliases": [value],
                        "NormalizedValue": value.lower(),
                        "NormalizedAliases": [value.lower()],
                        "Type": "FreeForm",
                    },
                    "EntityPages": [
                        {"DocSource": "touchstone", "Filename": page, "Title": person.name}
                    ],
                    "SearchResults": [],
                }
            )
        content = {"Domain": "Wikipedia", "Split": name, "Version": "1.0", "Data": data}
        _write_json(folder / f"{name}.json", content)


def write_summaries(folder: Path, world: World, rng: random.Random) -> None:
    """The same stories as JSON lines, with the facts to tell, and as CNN's .story files."""
    fresh = FreshPeople(world, held_out=True)
    lines = []
    for index in range(ITEMS):
        news = draw_news(rng, fresh)
        record = {"id": f"news-{index}", "text": news.text, "highlights": news.highlights}
        lines.append(json.dumps({**record, "facts": news.facts}))
        parts = [news.text, *(f"@highlight\n\n{line}" for line in news.highlights)]
        path = folder / "stories" / f"news_{index}.story"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    _write_lines(folder / "news.jsonl", lines)


def write_instructions(folder: Path, rng: random.Random) -> None:
    """MT-Bench's question.jsonl, with the checks that an answer must pass."""
    lines = []
    for index in range(ITEMS):
        made = draw_instruction(rng, KEPT[index % len(KEPT)])
        record = {"question_id": index + 1, "category": made.family, "turns": [made.text]}
        lines.append(json.dumps({**record, "checks": made.checks}))
    _write_lines(folder / "question.jsonl", lines)


def _up_to(texts: Iterator[str], size: int) -> list[str]:
    """Different texts of about `size` bytes together."""
    chosen: dict[str, None] = {}
    total = 0
    while total < size:
        text = next(texts)
        if text not in chosen:
            chosen[text] = None
            total += len(text.encode()) + 1
    return list(chosen)


def write_texts(folder: Path, world: World, rng: random.Random) -> None:
    """Text for perplexity, with facts and without, and for calibration, with questions and without.

    A calibration text is the training mix, but its documents come from a stream of their own.
    """
    everyone = list(world.people)
    by_weight = [WEIGHTS[person.rank] for person in everyone]
    profiles = (profile_text(rng, rng.choices(everyone, by_weight)[0]) for _ in iter(int, 1))
    _write_lines(folder / "facts.txt", _up_to(profiles, TEXT_BYTES))
    stories = ("Story: " + story(rng) for _ in iter(int, 1))
    _write_lines(folder / "stories.txt", _up_to(stories, TEXT_BYTES))
    for name, mix in (
        ("calibration", MIX),
        ("calibration_plain", {"profile": MIX["profile"], "story": MIX["story"]}),
    ):
        stream = DocumentStream(world, seed=-1)
        texts = (document.text.rstrip("\n") for document in stream.stream(mix))
        _write_lines(folder / f"{name}.txt", _up_to(texts, CALIBRATION_BYTES))


def write_world_files(folder: Path, world: World) -> None:
    """All of the above below `folder`; each file depends on the world's seed alone."""

    def rng(of: str) -> random.Random:
        return random.Random(f"{of} {world.seed}")

    write_texts(folder / "text", world, rng("texts"))
    write_facts(folder / "freebaseqa", world, rng("facts"))
    write_choices(folder / "mmlu", world, rng("choices"))
    write_open_book(folder / "triviaqa", world, rng("open book"))
    write_summaries(folder / "summaries", world, rng("summaries"))
    write_instructions(folder / "instructions", rng("instructions"))
