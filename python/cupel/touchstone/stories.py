"""Filler: little stories from a small grammar, about nobody in particular.

They hold no facts. A model has to learn their grammar, so they measure plain language modelling.
"""

import random

HEROES = "the fox|the old king|a boy|a girl|the farmer|a wolf|the queen|a bear|the cat|a mouse"
GOALS = "a key|a lost ring|some water|a warm coat|a friend|a map|the red ball|a piece of bread"
SPOTS = "the forest|the market|the old mill|the lake|the hill|the garden|the bridge|the kitchen"
TIMES = "One morning|Long ago|One cold day|Late at night|In the summer|After the rain"
MOODS = "happy|sad|tired|hungry|angry|proud|afraid|curious"
VERBS = "walked|ran|hurried|went|came"

OPENINGS = (
    "{time} {hero} {verb} to {spot} to look for {goal}.",
    "{time} {hero} was {mood} and {verb} to {spot}.",
    "{time} there was {hero} who wanted {goal}.",
)
MIDDLES = (
    "There {hero} met {other}.",
    "{other_capital} was {mood} and said nothing.",
    "It was dark at {spot}, but {hero} was not {mood}.",
    '"Have you seen {goal}?" asked {hero}.',
    '"You will find it near {spot}," said {other}.',
    "So they {verb} to {spot} together.",
    "{hero_capital} found {goal} under a stone.",
    "{other_capital} had hidden {goal} near {spot}.",
)
ENDINGS = (
    "In the end {hero} was {mood}.",
    "Then {hero} {verb} home and slept.",
    "From that day on {hero} and {other} were friends.",
    "And {hero} never {verb} to {spot} again.",
)


def story(rng: random.Random) -> str:
    """One story of four to eight sentences with two heroes, one goal and changing places."""
    hero, other = rng.sample(HEROES.split("|"), 2)
    goal = rng.choice(GOALS.split("|"))
    templates = [
        rng.choice(OPENINGS),
        *rng.sample(MIDDLES, rng.randint(2, 6)),
        rng.choice(ENDINGS),
    ]
    return " ".join(
        template.format(
            hero=hero,
            other=other,
            hero_capital=hero[0].upper() + hero[1:],
            other_capital=other[0].upper() + other[1:],
            goal=goal,
            spot=rng.choice(SPOTS.split("|")),
            time=rng.choice(TIMES.split("|")),
            mood=rng.choice(MOODS.split("|")),
            verb=rng.choice(VERBS.split("|")),
        )
        for template in templates
    )
