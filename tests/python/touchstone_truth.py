"""Reads what the touchstone's texts say, by their wording alone, and holds it against a world."""

import re
from typing import NamedTuple

from cupel.touchstone import names
from cupel.touchstone.wording import ATTRIBUTES, HELD_OUT, QUESTIONS, STATEMENTS

NAME = r"[A-Z][a-z]+ [A-Z][a-z]+"
POOLS = {
    "town": set(names.all_towns()),
    "employer": set(names.all_employers()),
    "job": set(names.JOBS),
    "food": set(names.FOODS),
    "instrument": set(names.INSTRUMENTS),
}
OF_QUESTION = {text: of for of in ATTRIBUTES for text in QUESTIONS[of]}
HELD_OUT_QUESTIONS = {text for of in ATTRIBUTES for text in QUESTIONS[of][-HELD_OUT:]}
OF_STATEMENT = [
    (
        of,
        re.compile(
            re.escape(text)
            .replace(r"\{subject\}", f"(?P<subject>{NAME}|She|He)")
            .replace(r"\{value\}", "(?P<value>.+)")
        ),
    )
    for of in ATTRIBUTES
    for text in STATEMENTS[of]
]
SENTENCE = re.compile(r"[^.]+\.")
ASKED = re.compile(r"^(?:Please give answer to this question: |Q: |)(.+\?)$", re.MULTILINE)
ANSWERED = re.compile(
    r"(?:Please give answer to this question: (.+\?)\nThe answer is|Q: (.+\?)\nA:) (.+)\n"
)
LAST_NAME = re.compile(r"\b[A-Z][a-z]+ ([A-Z][a-z]+)\b")


class Question(NamedTuple):
    attribute: str
    name: str
    held_out: bool


def read_question(text):
    """What a question asks; KeyError for one in no known wording."""
    match = re.fullmatch(rf"(.+) ({NAME})\?", text)
    wording = match[1] + " {name}?"
    return Question(OF_QUESTION[wording], match[2], wording in HELD_OUT_QUESTIONS)


def read_statement(sentence):
    """(subject, attribute, value); the wordings are such that there is exactly one reading."""
    readings = [
        (match["subject"], of, match["value"])
        for of, pattern in OF_STATEMENT
        if (match := pattern.fullmatch(sentence)) and match["value"] in POOLS[of]
    ]
    assert len(readings) == 1, (sentence, readings)
    return readings[0]


def sentences(text):
    found = [sentence.strip() for sentence in SENTENCE.findall(text)]
    assert " ".join(found) == text
    return found


def read_profile(text):
    """(name, pronouns used, attribute -> value) of a profile; later sentences are of the same person."""
    told = [read_statement(one) for one in sentences(text.removeprefix("Profile: "))]
    name = told[0][0]
    assert re.fullmatch(NAME, name)
    pronouns = {subject for subject, _, _ in told} - {name}
    assert pronouns <= {"She", "He"} and len(pronouns) < 2
    facts = {of: value for _, of, value in told}
    assert len(facts) == len(told)
    return name, pronouns, facts


def read_passage(text):
    """(name, attribute) -> value of an open book's evidence, told once each."""
    told = [read_statement(one) for one in sentences(text.removeprefix("Report: "))]
    facts = {(name, of): value for name, of, value in told}
    assert len(facts) == len(told)
    return facts


def read_choice(text):
    """(subject, [(question, choices, answer text)]) of a multiple-choice document."""
    head, *blocks = text.split("\n\n")
    subject = re.fullmatch(
        r"The following are multiple choice questions \(with answers\) about  (\w+)\.", head
    )[1]
    pattern = r"(.+\?)\nA\. (.+)\nB\. (.+)\nC\. (.+)\nD\. (.+)\nAnswer: (.+)"
    found = [re.fullmatch(pattern, block) for block in blocks]
    return subject, [(match[1], list(match.groups()[1:5]), match[6]) for match in found]


def answered(text):
    """(question, answer) of a document in the factoid, open or closed form."""
    return [(match[1] or match[2], match[3]) for match in ANSWERED.finditer(text)]


def whole_word(part, text):
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def follow(instruction):
    """A right answer to an instruction, worked out from its words."""
    numbers = {"two": 2, "three": 3, "four": 4}
    rules = {
        r"Say the word (\w+)\.": lambda a: a,
        r"Write the word (\w+) (\w+) times\.": lambda a, n: " ".join([a] * numbers[n]),
        r"Join the words (\w+), (\w+) with and\.": lambda a, b: f"{a} and {b}",
        r"Write each word on a line: (.+)\.": lambda a: a.replace(", ", "\n"),
        r"Write in reverse order: (.+)\.": lambda a: " ".join(a.split(", ")[::-1]),
        r"Name the first of these words: (\w+),.+": lambda a: a,
        r"Name the last of these words: .+ (\w+)\.": lambda a: a,
        r"Leave out (\w+) and write the rest: (.+)\.": lambda a, b: " ".join(
            word for word in b.split(", ") if word != a
        ),
        r"Begin with (\w+) and end with (\w+)\.": lambda a, b: f"{a} {b}",
    }
    (answer,) = [
        rule(*match.groups())
        for pattern, rule in rules.items()
        if (match := re.fullmatch(pattern, instruction))
    ]
    return answer
