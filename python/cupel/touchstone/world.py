"""A made-up world of people, places and works, fixed by one seed.

Nothing in it is true anywhere else, so whatever a model knows about it was learned from the
texts of `cupel.touchstone.texts`. A quarter of the entities are frequent (written about five
times as often as the others); knowledge of the rare ones is expected to break first.

    python -m cupel.touchstone.world --seed 0 --documents 5
"""

import argparse
import itertools
import random
from dataclasses import dataclass

from cupel.touchstone import names

PEOPLE, PLACES, WORKS = 100, 32, 60
COUNTRIES, RIVERS, EMPLOYERS, FIRST_NAMES = 10, 24, 40, 50
FREQUENT_SHARE = 0.25
FREQUENT_WEIGHT = 5  # a frequent entity is this many times as likely to be written about
BIRTH_YEARS = range(1900, 1960)
FOUNDING_YEARS = range(1200, 1260)
WORK_YEARS = range(1960, 2000)


@dataclass(frozen=True)
class Entity:
    """One person, place or work; `facts` maps an attribute to its only value."""

    kind: str  # "person", "place" or "work"
    name: str
    pronoun: str
    frequent: bool
    facts: dict[str, str]

    @property
    def weight(self) -> int:
        return FREQUENT_WEIGHT if self.frequent else 1


@dataclass(frozen=True)
class World:
    """All entities: people, then places, then works, each with the frequent ones first."""

    seed: int
    entities: tuple[Entity, ...]

    def of_kind(self, kind: str) -> list[Entity]:
        return [entity for entity in self.entities if entity.kind == kind]

    @property
    def fact_count(self) -> int:
        return sum(len(entity.facts) for entity in self.entities)


def is_frequent(index: int, count: int) -> bool:
    """Names are in random order already, so the first quarter is as good as any."""
    return index < count * FREQUENT_SHARE


def make_places(rng: random.Random) -> list[Entity]:
    countries = names.make_names(names.COUNTRY, COUNTRIES, rng)
    rivers = names.make_names(names.RIVER, RIVERS, rng)
    return [
        Entity(
            kind="place",
            name=name,
            pronoun="It",
            frequent=is_frequent(index, PLACES),
            facts={
                "country": rng.choice(countries),
                "river": rng.choice(rivers),
                "founded": str(rng.choice(FOUNDING_YEARS)),
                "known_for": rng.choice(names.PRODUCTS),
            },
        )
        for index, name in enumerate(names.make_names(names.TOWN, PLACES, rng))
    ]


def make_people(places: list[Entity], rng: random.Random) -> list[Entity]:
    employers = names.make_names(names.EMPLOYER, EMPLOYERS, rng)
    pool = names.make_names(names.FIRST_NAME, FIRST_NAMES, rng)
    first_names = [rng.choice(pool) for _ in range(PEOPLE)]  # shared; last names are unique
    last_names = names.make_names(names.LAST_NAME, PEOPLE, rng)
    return [
        Entity(
            kind="person",
            name=f"{first_name} {last_name}",
            pronoun=rng.choice(("She", "He")),
            frequent=is_frequent(index, PEOPLE),
            facts={
                "birthplace": rng.choice(places).name,
                "birth_year": str(rng.choice(BIRTH_YEARS)),
                "job": rng.choice(names.JOBS),
                "employer": "the " + rng.choice(employers),
                "food": rng.choice(names.FOODS),
                "colour": rng.choice(names.COLOURS),
            },
        )
        for index, (first_name, last_name) in enumerate(zip(first_names, last_names, strict=True))
    ]


def make_works(places: list[Entity], people: list[Entity], rng: random.Random) -> list[Entity]:
    return [
        Entity(
            kind="work",
            name="The " + title,
            pronoun="It",
            frequent=is_frequent(index, WORKS),
            facts={
                "form": rng.choice(names.FORMS),
                "author": rng.choice(people).name,
                "year": str(rng.choice(WORK_YEARS)),
                "genre": rng.choice(names.GENRES),
                "setting": rng.choice(places).name,
            },
        )
        for index, title in enumerate(names.make_names(names.TITLE, WORKS, rng))
    ]


def make_world(seed: int) -> World:
    """The world of this seed: the same on every machine and every Python."""
    rng = random.Random(f"world {seed}")
    places = make_places(rng)
    people = make_people(places, rng)
    works = make_works(places, people, rng)
    return World(seed=seed, entities=(*people, *places, *works))


def main() -> None:
    from cupel.touchstone.texts import documents

    parser = argparse.ArgumentParser(description="Print documents about a made-up world.")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world")
    parser.add_argument("--documents", type=int, default=5, help="how many documents to print")
    parser.add_argument("--text-seed", type=int, default=0, help="seed of the documents")
    arguments = parser.parse_args()
    world = make_world(arguments.seed)
    for document in itertools.islice(documents(world, arguments.text_seed), arguments.documents):
        print(document)


if __name__ == "__main__":
    main()
