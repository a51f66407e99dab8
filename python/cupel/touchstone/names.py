"""Where names and values come from: parts for names, short lists for the rest.

A last name is one of 155 beginnings and one of 48 endings. So many different parts are on purpose:
with 20 and 10 of them a small model never learned to tell 1,500 people apart (docs/touchstone.md).
"""

import random

_ONSETS = (
    "B Br C Ch D Dr F Fl G Gl Gr H J K Kl L M N P Ph Pl R S Sh Sk St T Th Tr V W Z".split()
)  # 32
_WORDS = {"Do", "He", "She", "So", "To"}  # a beginning that is a word would be one piece with it
LAST_BEGINNINGS = [
    onset + vowel for onset in _ONSETS for vowel in "aeiou" if onset + vowel not in _WORDS
]  # 155
LAST_ENDINGS = [
    onset + rest for onset in "b d f g k l m n r s t v".split() for rest in "an el ik or".split()
]  # 48

FIRST_NAMES = {
    "She": (
        "Ada Alma Anna Berta Bella Cora Clara Dina Dora Edda Ella Elsa Emma Erna Eva Flora Freya "
        "Greta Hanna Hedda Helga Ida Ilse Inga Irma Jana Jutta Karla Katja Lara Lena Lilly Lotta "
        "Lucia Magda Marta Mila Mona Nadia Nelly Nina Nora Olga Paula Petra Rita Rosa Sara"
    ).split(),
    "He": (
        "Adam Alan Anton Arno Bernd Boris Bruno Carl Casper Conrad Denis Edgar Emil Enno Erik "
        "Felix Finn Frank Georg Gustav Hans Harald Henry Hugo Igor Ivan Jakob Jens Jonas Jules "
        "Kurt Lars Leon Linus Ludwig Magnus Max Milo Nils Oscar Otto Pablo Paul Ralf Rudi Simon "
        "Theo Viktor"
    ).split(),
}

TOWN_BEGINNINGS = (
    "Amber Ash Birch Brook Castle Clay Crow Deer Elm Fern Fox Green Hawk Lake Marsh Mill Oak Otter "
    "Pine Raven Salt Stone Thorn Willow"
).split()  # 24
TOWN_ENDINGS = "bury by dale ford gate ham holm mere ton wick".split()  # 10
TOWN_COUNT = 48

EMPLOYER_BEGINNINGS = (
    "Apex Arrow Atlas Comet Crown Delta Globe Lion Meridian Orion Phoenix Royal Summit Vesta Union "
    "Zenith"
).split()  # 16
EMPLOYER_KINDS = "Bakery Bank College Inn Mills Museum Press Railway Shipping Theatre".split()  # 10
EMPLOYER_COUNT = 40

JOBS = (
    "baker banker barber brewer builder butcher carpenter chemist clerk cook dancer dentist doctor "
    "driver engineer farmer fisher gardener glazier guard hatter jeweller joiner judge lawyer "
    "mason miller miner nurse painter pilot plumber porter printer sailor smith tailor teacher "
    "trader weaver"
).split()  # 40
FOODS = (
    "apples bacon beans beef bread butter cabbage cake carrots cheese cherries chicken eggs "
    "figs ham honey lentils melon mushrooms noodles nuts olives onions pancakes peas pears plums "
    "porridge potatoes rice salmon soup"
).split()  # 32
INSTRUMENTS = (
    "accordion banjo bassoon bells bugle cello clarinet cornet drums fiddle flute guitar harmonica "
    "harp horn lute mandolin oboe organ piano tuba trombone viola zither"
).split()  # 24


def last_names() -> list[str]:
    return [begin + end for begin in LAST_BEGINNINGS for end in LAST_ENDINGS]


def all_towns() -> list[str]:
    return [begin + end for begin in TOWN_BEGINNINGS for end in TOWN_ENDINGS]


def all_employers() -> list[str]:
    return [f"{begin} {kind}" for begin in EMPLOYER_BEGINNINGS for kind in EMPLOYER_KINDS]


def full_name(rng: random.Random, last_name: str) -> tuple[str, str]:
    """(name, pronoun) of a bearer of this last name."""
    pronoun = rng.choice(("She", "He"))
    return f"{rng.choice(FIRST_NAMES[pronoun])} {last_name}", pronoun
