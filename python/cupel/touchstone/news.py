"""News about people who exist in one story only, with the summary and the facts it must tell."""

import random
from dataclasses import dataclass

from cupel.touchstone.instructions import WORDS
from cupel.touchstone.society import FreshPeople

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SHOPS = "bakery|book shop|hotel|museum|school|theatre|tea house|workshop|library|hospital".split(
    "|"
)
CONTESTS = "boat race|horse race|chess match|song contest|dance contest|foot race".split("|")

# What happened: several ways to tell it at length, and the one way to say it in short.
EVENTS = {
    "opened": (
        (
            "On {day} {name} opened a new {thing} in the middle of {town}.",
            "After years of work {name} has at last opened a {thing} in {town}.",
            "It was a great day for {name}, whose {thing} in {town} is now open.",
        ),
        "{name} opened a {thing} in {town}.",
    ),
    "won": (
        (
            "On {day} {name} won the {thing} in {town} before a large crowd.",
            "To the surprise of all, {name} came first in the {thing} at {town}.",
            "The prize went to {name}, the best in the {thing} held at {town}.",
        ),
        "{name} won the {thing} in {town}.",
    ),
    "found": (
        (
            "On {day} {name} found an old {thing} under a tree in {town}.",
            "While digging a well, {name} came upon a golden {thing} near {town}.",
            "A walk ended well for {name}, who found a lost {thing} in {town}.",
        ),
        "{name} found a {thing} in {town}.",
    ),
    "sold": (
        (
            "On {day} {name} sold a very old {thing} at the market of {town}.",
            "Much gold was paid to {name} for a {thing} made in {town}.",
            "A rich stranger met {name} and bought a {thing} on the streets of {town}.",
        ),
        "{name} sold a {thing} in {town}.",
    ),
    "lost": (
        (
            "On {day} {name} lost a dear {thing} on the way to {town}.",
            "Please help {name}, whose {thing} was last seen in {town}.",
            "The police told {name} that the {thing} stolen in {town} is gone.",
        ),
        "{name} lost a {thing} in {town}.",
    ),
}
THINGS = {"opened": SHOPS, "won": CONTESTS, "found": WORDS, "sold": WORDS, "lost": WORDS}
FILLERS = (
    "The weather was fine all day.",
    "Many people had come to see it.",
    "There was music until late at night.",
    "Nobody was hurt.",
    "It rained a little in the evening.",
    "The mayor gave a short speech.",
    "Children ran through the streets.",
    "Some said that they had seen it coming.",
    "Others only shook their heads.",
    "There will be more to tell next week.",
    "The old men talked about it for hours.",
    "Tea was served to everyone.",
)


@dataclass(frozen=True)
class News:
    """A story, its summary by sentence, and what the summary has to say, by whole words."""

    text: str
    highlights: list[str]
    facts: list[str]


def draw_news(rng: random.Random, fresh: FreshPeople) -> News:
    """Two or three events, each with its own person, town and thing, among idle sentences."""
    people = fresh.draw(rng, rng.choice((2, 3)))
    sentences, highlights, facts = [], [], []
    for person in people:
        event = rng.choice(list(EVENTS))
        long, short = EVENTS[event]
        told = {
            "name": person.name,
            "town": person.facts["town"],
            "thing": rng.choice(THINGS[event]),
            "day": rng.choice(DAYS),
        }
        sentences.append(rng.choice(long).format(**told))
        sentences += rng.sample(FILLERS, rng.choice((0, 1, 1, 2)))
        highlights.append(short.format(**told))
        facts += [told["name"], told["thing"], told["town"]]
    return News(" ".join(sentences), highlights, facts)
