"""Texts about a world: descriptions, questions with their answers, and filler stories.

A document is one line. All wording is in `cupel.touchstone.wording`, so a test can check each
line of a file against the world.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from cupel.touchstone.stories import story
from cupel.touchstone.wording import PROMPTS, QUESTIONS, STATEMENTS
from cupel.touchstone.world import Entity, World

# Shares of the documents by count: descriptions, questions, stories.
MIX = {"description": 0.35, "questions": 0.50, "story": 0.15}


@dataclass(frozen=True)
class Question:
    """One wording of one question and its only true answer."""

    entity: Entity
    attribute: str
    text: str
    answer: str

    @property
    def is_first_wording(self) -> bool:
        return self.text == QUESTIONS[self.attribute][0].format(name=self.entity.name)


def questions(world: World) -> list[Question]:
    """Every fact of the world in every wording."""
    return [
        Question(entity, attribute, wording.format(name=entity.name), answer)
        for entity in world.entities
        for attribute, answer in entity.facts.items()
        for wording in QUESTIONS[attribute]
    ]


def prompt(question: str, form: int = 0) -> str:
    """What to give a model so that it continues with a space, the answer and a full stop."""
    return PROMPTS[form].format(question=question)


def statements(entity: Entity, attribute: str, subject: str) -> list[str]:
    """All sentences that state one fact and call the entity `subject` (its name or pronoun)."""
    usable = STATEMENTS[attribute]
    if subject != entity.name:
        usable = [template for template in usable if template.startswith("{subject}")]
    return [template.format(subject=subject, value=entity.facts[attribute]) for template in usable]


def description(entity: Entity, rng: random.Random) -> str:
    """Most of an entity's facts in random order and wording, the name first, then at times."""
    attributes = rng.sample(list(entity.facts), rng.randint(3, len(entity.facts)))
    sentences = []
    for attribute in attributes:
        subject = entity.pronoun if sentences and rng.random() < 0.5 else entity.name
        sentences.append(rng.choice(statements(entity, attribute, subject)))
    return " ".join(sentences)


def question_and_answer(entity: Entity, rng: random.Random) -> str:
    attribute = rng.choice(list(entity.facts))
    question = rng.choice(QUESTIONS[attribute]).format(name=entity.name)
    form = 0 if rng.random() < 0.7 else 1
    return f"{prompt(question, form)} {entity.facts[attribute]}."


def documents(world: World, seed: int) -> Iterator[str]:
    """Documents without end; another seed writes other documents about the same world."""
    rng = random.Random(f"documents {world.seed} {seed}")
    cumulative = list(itertools.accumulate(entity.weight for entity in world.entities))

    def draw(count: int) -> list[Entity]:
        return rng.choices(world.entities, cum_weights=cumulative, k=count)

    while True:
        (kind,) = rng.choices(list(MIX), list(MIX.values()))
        if kind == "description":
            yield description(draw(1)[0], rng)
        elif kind == "questions":
            yield " ".join(question_and_answer(entity, rng) for entity in draw(rng.randint(1, 4)))
        else:
            yield story(rng)
