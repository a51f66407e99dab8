"""The people of a made-up world, fixed by one seed: who they are and what is true of them.

Nothing in it is true anywhere else, so what a model knows about it was learned from training
texts. People belong to four classes by how often they are written about; and one in five is only
told about, in profiles, and never asked about.
"""

import random
from dataclasses import dataclass

from cupel.touchstone import names
from cupel.touchstone.wording import ATTRIBUTES


@dataclass(frozen=True)
class Rank:
    """A class of frequency: `weight` is how often one of its people is chosen, relatively."""

    name: str
    people: int
    weight: float


RANKS = (
    Rank("famous", 100, 4.0),
    Rank("known", 300, 2.4),
    Rank("little_known", 500, 1.5),
    Rank("obscure", 600, 1.0),
)
WEIGHTS = {rank.name: rank.weight for rank in RANKS}
PEOPLE = sum(rank.people for rank in RANKS)
ASKED_SHARE = 0.8  # of each class; the others are told about only


@dataclass(frozen=True)
class Person:
    """One person; `facts` maps each attribute to its only value."""

    name: str
    pronoun: str
    rank: str  # a name of RANKS, or "fresh": made up for one document
    asked: bool
    facts: dict[str, str]


@dataclass(frozen=True)
class World:
    """People in order of rank, and the values that facts are drawn from."""

    seed: int
    people: tuple[Person, ...]
    values: dict[str, tuple[str, ...]]
    last_names: frozenset[str]  # taken, so that fresh people have others

    def of_rank(self, rank: str, *, asked: bool) -> list[Person]:
        return [person for person in self.people if person.rank == rank and person.asked == asked]

    @property
    def fact_count(self) -> int:
        return sum(len(person.facts) for person in self.people)


def make_world(seed: int) -> World:
    """The world of this seed: the same on every machine and every Python."""
    rng = random.Random(f"world {seed}")
    values = {
        "town": tuple(sorted(rng.sample(names.all_towns(), names.TOWN_COUNT))),
        "employer": tuple(sorted(rng.sample(names.all_employers(), names.EMPLOYER_COUNT))),
        "job": tuple(names.JOBS),
        "food": tuple(names.FOODS),
        "instrument": tuple(names.INSTRUMENTS),
    }
    last_names = rng.sample(names.last_names(), PEOPLE)
    people = []
    for rank in RANKS:
        for index in range(rank.people):
            name, pronoun = names.full_name(rng, last_names[len(people)])
            facts = {attribute: rng.choice(values[attribute]) for attribute in ATTRIBUTES}
            asked = index < rank.people * ASKED_SHARE
            people.append(Person(name, pronoun, rank.name, asked, facts))
    return World(seed, tuple(people), values, frozenset(last_names))


class FreshPeople:
    """People who exist in one document only: what is said of them cannot be known, only read.

    `held_out` chooses which half of the unused last names they have: training and tests never
    share one.
    """

    MADE_UP = 0.4  # share of towns and employers that no known person has

    def __init__(self, world: World, *, held_out: bool) -> None:
        self._values = world.values
        free = [name for name in names.last_names() if name not in world.last_names]
        random.Random(f"fresh {world.seed}").shuffle(free)
        half = len(free) // 2
        self._last_names = free[half:] if held_out else free[:half]
        self._made_up = {
            "town": [town for town in names.all_towns() if town not in world.values["town"]],
            "employer": [
                employer
                for employer in names.all_employers()
                if employer not in world.values["employer"]
            ],
        }

    def draw(self, rng: random.Random, count: int) -> list[Person]:
        """People of different last names, no two of whom share a value."""
        people = []
        taken: set[str] = set()
        for last_name in rng.sample(self._last_names, count):
            name, pronoun = names.full_name(rng, last_name)
            facts = {}
            for attribute in ATTRIBUTES:
                made_up = attribute in self._made_up and rng.random() < self.MADE_UP
                pool = self._made_up[attribute] if made_up else self._values[attribute]
                facts[attribute] = rng.choice([value for value in pool if value not in taken])
            taken.update(facts.values())
            people.append(Person(name, pronoun, "fresh", True, facts))
        return people
