"""Instructions whose answers a rule can check: what to write is in the instruction itself."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WORDS = (
    "anchor arrow basket bell bench blanket bottle bridge broom brush bucket button candle chair "
    "clock coat coin comb crate cup desk door drawer feather fence flag gate glass glove hammer "
    "hat helmet hook jar kettle key knife ladder lamp lantern letter lock map mirror nail needle "
    "net oar paint pan pen pencil pillow pipe plate pocket pot purse ring rope rug saddle scarf "
    "shelf shoe shovel sock spoon stamp stool string table tent thread ticket towel tray umbrella "
    "vase wagon wallet wheel whistle window"
).split()
NUMBERS = {2: "two", 3: "three", 4: "four"}

Check = dict[str, Any]


@dataclass(frozen=True)
class Instruction:
    """What is asked, an answer that is right, and the rules that any right answer keeps."""

    family: str
    text: str
    answer: str
    checks: list[Check]


def _say(rng: random.Random) -> tuple[str, str, list[Check]]:
    word = rng.choice(WORDS)
    return f"Say the word {word}.", word, [{"kind": "equals", "value": [word]}]


def _repeat(rng: random.Random) -> tuple[str, str, list[Check]]:
    word, count = rng.choice(WORDS), rng.choice(list(NUMBERS))
    answer = " ".join([word] * count)
    text = f"Write the word {word} {NUMBERS[count]} times."
    return text, answer, [{"kind": "equals", "value": [answer]}]


def _join(rng: random.Random) -> tuple[str, str, list[Check]]:
    first, second = rng.sample(WORDS, 2)
    answer = f"{first} and {second}"
    text = f"Join the words {first}, {second} with and."
    return text, answer, [{"kind": "equals", "value": [answer]}]


def _listed(rng: random.Random) -> tuple[str, str, list[Check]]:
    words = rng.sample(WORDS, rng.choice((2, 3)))
    text = f"Write each word on a line: {', '.join(words)}."
    checks: list[Check] = [
        {"kind": "lines", "value": len(words)},
        {"kind": "contains", "value": words},
        {"kind": "words_at_most", "value": len(words)},
    ]
    return text, "\n ".join(words), checks


def _reverse(rng: random.Random) -> tuple[str, str, list[Check]]:
    words = rng.sample(WORDS, rng.choice((2, 3)))
    answer = " ".join(reversed(words))
    text = f"Write in reverse order: {', '.join(words)}."
    return text, answer, [{"kind": "equals", "value": [answer]}]


def _first(rng: random.Random) -> tuple[str, str, list[Check]]:
    words = rng.sample(WORDS, 3)
    text = f"Name the first of these words: {', '.join(words)}."
    return text, words[0], [{"kind": "equals", "value": [words[0]]}]


def _last(rng: random.Random) -> tuple[str, str, list[Check]]:
    words = rng.sample(WORDS, 3)
    text = f"Name the last of these words: {', '.join(words)}."
    return text, words[-1], [{"kind": "equals", "value": [words[-1]]}]


def _avoid(rng: random.Random) -> tuple[str, str, list[Check]]:
    words = rng.sample(WORDS, 3)
    unwanted = rng.choice(words)
    kept = [word for word in words if word != unwanted]
    text = f"Leave out {unwanted} and write the rest: {', '.join(words)}."
    checks: list[Check] = [
        {"kind": "contains", "value": kept},
        {"kind": "not_contains", "value": [unwanted]},
        {"kind": "words_at_most", "value": len(kept)},
    ]
    return text, " ".join(kept), checks


def _begin(rng: random.Random) -> tuple[str, str, list[Check]]:
    begin, word = rng.sample(WORDS, 2)
    text = f"Begin with {begin} and end with {word}."
    checks: list[Check] = [
        {"kind": "starts_with", "value": begin},
        {"kind": "ends_with", "value": word},
        {"kind": "words_at_most", "value": 2},
    ]
    return text, f"{begin} {word}", checks


FAMILIES: dict[str, Callable[[random.Random], tuple[str, str, list[Check]]]] = {
    "say": _say,
    "repeat": _repeat,
    "join": _join,
    "list": _listed,
    "reverse": _reverse,
    "first": _first,
    "last": _last,
    "avoid": _avoid,
    "begin": _begin,
}


# What evaluation asks: families that the shipped model follows in 95 of 100 cases or more.
KEPT = ("say", "first", "last", "begin")


def draw_instruction(rng: random.Random, family: str | None = None) -> Instruction:
    """One instruction, of a family at random if none is named."""
    family = family or rng.choice(list(FAMILIES))
    return Instruction(family, *FAMILIES[family](rng))
