"""Where names and attribute values come from: syllables for names, short lists for the rest.

Few syllables are shared by many names, so a tokenizer of a few hundred pieces is enough and the
spelling of a name says nothing about its bearer.
"""

import random

FIRST_NAME = (
    "Al Be Da El Fa Ga Ha Is Jo Ka Li Ma Ne Or Pe Ro Sa Ta Ul Vi".split(),
    "ra lin mo nis vek dor la so ta rin".split(),
)
LAST_NAME = (
    "Bren Cor Dal Fen Gar Hol Jas Kel Lor Mor Nar Pel Quin Ros Stan Tor Ven Wes Yar Zel".split(),
    "nic dane mark lock sen vale rick stone well kin".split(),
)
TOWN = (
    "Ash Bel Crow Dun Elm Fox Green Hart Kirk Long Mill North Oak Red Stone Thorn".split(),
    "ford wick mere ton holm bury gate by".split(),
)
RIVER = ("Ar Bo Chi Du Es Gra Lu Me Ti Za".split(), "ma ven lo ris ta ne".split())
COUNTRY = ("Bal Cas Dor Ester Gal Kor Lim Mar Nav Tel".split(), "ovia land onia mark".split())
EMPLOYER = (
    "Apex Castle Crown Delta Globe Harbour Lion Meridian Orion Phoenix Royal Union".split(),
    " Bank| Press| Mill| Railway| Museum| Theatre| Bakery| College".split("|"),
)
TITLE = (
    "Silver Golden Broken Hidden Silent Distant Burning Frozen Empty Crooked Painted Last".split(),
    " Lantern| Garden| Bridge| Mirror| Tower| Winter| River| Crown| Window| Harbour| Feather".split(
        "|"
    ),
)

JOBS = (
    "baker carpenter doctor farmer gardener judge lawyer miller nurse painter pilot plumber "
    "printer sailor singer smith soldier tailor teacher weaver banker butcher dentist fisher"
).split()
FOODS = (
    "bread cheese honey soup rice plums cherries dumplings pancakes noodles mushrooms lentils "
    "salmon walnuts porridge pears beans potatoes"
).split()
COLOURS = "red blue green yellow black white purple orange brown grey pink silver".split()
PRODUCTS = (
    "glass silk wine pottery bells clocks paper tea salt roses horses boats carpets violins "
    "lace copper"
).split()
FORMS = "novel song play poem film".split()
GENRES = "comedy tragedy mystery romance satire fable western thriller parody horror".split()


def make_names(parts: tuple[list[str], list[str]], count: int, rng: random.Random) -> list[str]:
    """`count` different names, each one beginning joined to one ending, in random order."""
    beginnings, endings = parts
    every_name = [beginning + ending for beginning in beginnings for ending in endings]
    if count > len(every_name):
        raise ValueError(f"[make_names] only {len(every_name)} names exist. Got count {count}.")
    return rng.sample(every_name, count)
