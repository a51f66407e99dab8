"""The training texts of a world: an endless stream of documents, each with weights for the loss.

A document is a list of pieces (text, weight) that read on without a break. Answers weigh most;
names and values in questions and passages are random, so they weigh little, or they would drown
the rest.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from cupel.touchstone import prompts
from cupel.touchstone.instructions import draw_instruction
from cupel.touchstone.news import draw_news
from cupel.touchstone.society import WEIGHTS, FreshPeople, Person, World
from cupel.touchstone.stories import story
from cupel.touchstone.wording import ATTRIBUTES, HELD_OUT, QUESTIONS, STATEMENTS, SUBJECTS

ANSWER, TEXT, GIVEN = 4.0, 1.0, 0.25

# Shares of the documents by count.
MIX = {
    "profile": 0.38,
    "factoid": 0.16,
    "closed_book": 0.05,
    "choice": 0.08,
    "one_person": 0.04,
    "two_people": 0.09,
    "news": 0.05,
    "instruction": 0.11,
    "story": 0.04,
}
# Reading is learned first, and facts are cheaper afterwards: shares of the first steps.
FIRST_MIX = {
    **MIX,
    "profile": 0.20,
    "factoid": 0.08,
    "one_person": 0.15,
    "two_people": 0.20,
    "instruction": 0.30,
}
LINES = ("profile", "story")  # kinds that also stand in text files, a line each


@dataclass(frozen=True)
class Piece:
    """Text that joins the piece before it, and the weight of its tokens in the loss."""

    text: str
    weight: float


@dataclass(frozen=True)
class Document:
    """One text of one kind of MIX; `ends` says whether a reader could know that it is over."""

    kind: str
    pieces: tuple[Piece, ...]
    ends: bool

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def tell(rng: random.Random, person: Person, attribute: str, subject: str) -> str:
    value = person.facts[attribute]
    return rng.choice(STATEMENTS[attribute]).format(subject=subject, value=value)


def profile_text(rng: random.Random, person: Person) -> str:
    """All that is true of a person, in any order; the name returns now and then."""
    sentences = []
    for place, attribute in enumerate(rng.sample(ATTRIBUTES, len(ATTRIBUTES))):
        named = place == 0 or rng.random() < 0.4
        sentences.append(tell(rng, person, attribute, person.name if named else person.pronoun))
    return "Profile: " + " ".join(sentences)


def passage_text(rng: random.Random, people: list[Person]) -> tuple[str, list[tuple[Person, str]]]:
    """Evidence of an open book, and which facts it tells: every sentence names its person."""
    told = [(person, attribute) for person in people for attribute in ATTRIBUTES]
    rng.shuffle(told)
    if len(people) > 1:
        told = told[: rng.randint(6, 7)]
    text = " ".join(tell(rng, person, of, person.name) for person, of in told)
    return "Report: " + text, told


def ask(rng: random.Random, person: Person, attribute: str) -> str:
    """A question in a wording that training may show."""
    return rng.choice(QUESTIONS[attribute][:-HELD_OUT]).format(name=person.name)


def choices_for(
    rng: random.Random, world: World, person: Person, attribute: str
) -> tuple[list[str], int]:
    """Four different values, one of them true, and where that one stands."""
    truth = person.facts[attribute]
    others = rng.sample([v for v in world.values[attribute] if v != truth], 3)
    place = rng.randrange(4)
    return [*others[:place], truth, *others[place:]], place


class DocumentStream:
    """Documents of one world without end. Equal (world, seed) give equal documents.

    `held_out` fresh people are those that training never meets; evaluation data use them.
    """

    def __init__(self, world: World, seed: int, *, held_out: bool = False) -> None:
        self.rng = random.Random(f"documents {world.seed} {seed}")
        self._world = world
        self._fresh = FreshPeople(world, held_out=held_out)
        asked = [person for person in world.people if person.asked]
        self._everyone = (world.people, [WEIGHTS[person.rank] for person in world.people])
        self._asked = (asked, [WEIGHTS[person.rank] for person in asked])

    def draw(self, mix: dict[str, float]) -> Document:
        kind = self.rng.choices(list(mix), list(mix.values()))[0]
        return self.of_kind(kind)

    def of_kind(self, kind: str) -> Document:
        pieces, ends = getattr(self, "_" + kind)()
        return Document(kind, tuple(Piece(text, weight) for text, weight in pieces), ends)

    def stream(self, mix: dict[str, float]) -> Iterator[Document]:
        while True:
            yield self.draw(mix)

    def _people(self, of: tuple[list[Person], list[float]], count: int) -> list[Person]:
        return self.rng.choices(of[0], of[1], k=count)

    def _profile(self):
        (person,) = self._people(self._everyone, 1)
        return [(profile_text(self.rng, person), TEXT)], True

    def _story(self):
        return [("Story: " + story(self.rng), TEXT)], True

    def factoid_about(self, person: Person) -> Document:
        """One question about this person."""
        pieces = self._factoids([person])
        return Document("factoid", tuple(Piece(text, weight) for text, weight in pieces), False)

    def _factoid(self):
        return self._factoids(self._people(self._asked, self.rng.randint(2, 5))), False

    def _factoids(self, people: list[Person]):
        pieces = []
        for person in people:
            attribute = self.rng.choice(ATTRIBUTES)
            question = prompts.FACTOID.format(question=ask(self.rng, person, attribute))
            pieces += [
                (("\n" if pieces else "") + question, GIVEN),
                (" " + person.facts[attribute] + "\n", ANSWER),
            ]
        return pieces

    def _closed_book(self):
        people = self._people(self._asked, self.rng.randint(2, 5))
        asked = [(person, self.rng.choice(ATTRIBUTES)) for person in people]
        return self._questions("Answer these questions:\n\n", asked), False

    def _choice(self):
        attribute = self.rng.choice(ATTRIBUTES)
        head = prompts.CHOICE_HEAD.format(subject=SUBJECTS[attribute])
        pieces = [(head, GIVEN)]
        for person in self._people(self._asked, self.rng.randint(2, 3)):
            choices, place = choices_for(self.rng, self._world, person, attribute)
            question = ask(self.rng, person, attribute)
            prompt = prompts.CHOICE.format(*choices, question=question)
            pieces += [("\n\n" + prompt, GIVEN), (" " + choices[place], ANSWER)]
        return pieces, False

    def _one_person(self):
        return self._open_book(1, (1, 3))

    def _two_people(self):
        return self._open_book(2, (2, 4))

    def _open_book(self, count: int, questions: tuple[int, int]):
        people = self._fresh.draw(self.rng, count)
        evidence, told = passage_text(self.rng, people)
        asked = self.rng.sample(told, min(len(told), self.rng.randint(*questions)))
        head = evidence + "\n\nBased on these texts, answer these questions:\n\n"
        return self._questions(head, asked), False

    def _questions(self, head: str, asked: list[tuple[Person, str]]):
        pieces = []
        for person, attribute in asked:
            before = "\n" if pieces else head
            question = ask(self.rng, person, attribute)
            pieces += [
                (f"{before}Q: {question}\nA:", GIVEN),
                (" " + person.facts[attribute] + "\n", ANSWER),
            ]
        return pieces

    def _news(self):
        news = draw_news(self.rng, self._fresh)
        prompt = prompts.SUMMARY.format(text=news.text) + prompts.REPLY
        return [(prompt, GIVEN), (" " + " ".join(news.highlights), ANSWER)], True

    def _instruction(self):
        made = draw_instruction(self.rng)
        return [(made.text + prompts.REPLY, GIVEN), (" " + made.answer, ANSWER)], True
