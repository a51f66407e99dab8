"""Questions on the world of the model that comes with cupel, as lines of JSON for the general tasks."""

import random

from cupel import touchstone
from cupel.touchstone import prompts
from cupel.touchstone.documents import ask, choices_for
from cupel.touchstone.society import RANKS
from cupel.touchstone.wording import ATTRIBUTES
from cupel.touchstone.world import make_world

OF_EACH = 4  # questions of an attribute and a rank in examples/kick/questions.jsonl


def prompt(rng, person, attribute):
    return prompts.FACTOID.format(question=ask(rng, person, attribute))


def choice(rng, world, person, attribute, name):
    """A line of multiple_choice."""
    choices, place = choices_for(rng, world, person, attribute)
    context = prompt(rng, person, attribute)
    asked = {"id": name, "category": attribute, "context": context}
    return asked | {"choices": choices, "answer": place}


def asked_facts(rng, world, count):
    """`count` different facts that training asked about: (person, attribute)."""
    people = [person for person in world.people if person.asked]
    return rng.sample([(person, of) for person in people for of in ATTRIBUTES], count)


def quick_questions():
    """examples/kick/questions.jsonl: each attribute, each rank alike."""
    world = make_world(touchstone.WORLD_SEED)
    rng = random.Random("questions of the quick grid")
    lines = []
    for attribute in ATTRIBUTES:
        for rank in RANKS:
            people = rng.sample(world.of_rank(rank.name, asked=True), OF_EACH)
            for number, person in enumerate(people):
                name = f"{attribute}-{rank.name}-{number}"
                lines.append(choice(rng, world, person, attribute, name))
    return lines
