"""Readers of the values in a grid, the same for YAML, Python and the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

Reader = Callable[[Any], Any]

PARITY = "parity"  # the sparsity that leaves a model as many weights as another one has


def listed(value: Any) -> list[Any]:
    """A list of `value`; one alone is a list of one."""
    if value is None:
        return []
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def several(read: Reader) -> Reader:
    """A reader of lists without repetition."""

    def read_all(value: Any) -> list[Any]:
        found: list[Any] = []
        for part in listed(value):
            one = read(part)
            if one in found:
                raise ValueError(f"each stands once. Got {one} twice.")
            found.append(one)
        return found

    return read_all


def whole(least: int, most: int | None = None) -> Reader:
    """A reader of whole numbers."""
    span = f"{least} or more" if most is None else f"from {least} to {most}"

    def read(value: Any) -> int:
        number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
        whole_one = isinstance(number, int) and not isinstance(number, bool)
        if not whole_one or number < least or (most is not None and number > most):
            raise ValueError(f"must be a whole number, {span}. Got {value}.")
        return number

    return read


def fraction(value: Any) -> float:
    """Reads a fraction from 0 to 1."""
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if 1 < number <= 100:
        raise ValueError(
            f"must be a fraction from 0 to 1. Got {value}; for {value} % write {number / 100:g}."
        )
    if not 0 <= number <= 1:
        raise ValueError(f"must be a fraction from 0 to 1. Got {value}.")
    return number


def sparsity(value: Any) -> float | str:
    """Reads a fraction from 0 to 1, or the word parity."""
    return PARITY if value == PARITY else fraction(value)


def pattern(value: Any) -> str:
    """Reads n:m, or a pair of numbers."""
    text = ":".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    found = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if not found or not 0 < int(found[1]) <= int(found[2]):
        raise ValueError(
            f"must be n:m, n kept of every m columns, so n is at most m (2:4 keeps two of four). "
            f"Got {value}."
        )
    return f"{int(found[1])}:{int(found[2])}"


def name(value: Any) -> str:
    """Reads a word."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a name. Got {value!r}.")
    return value.strip()


def one_of(*choices: str) -> Reader:
    """A reader of one of a few words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}. Got {value}.")
        return value

    read.choices = choices  # type: ignore[attr-defined]
    return read


def flag(value: Any) -> bool:
    """Reads true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false. Got {value}.")
    return value


def path(value: Any) -> str | None:
    """Reads a path; None is none."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"must be a path. Got {value!r}.")
    return os.fspath(value)


def or_none(read: Reader) -> Reader:
    """A reader that lets None through."""

    def read_some(value: Any) -> Any:
        return None if value is None else read(value)

    if hasattr(read, "choices"):
        read_some.choices = read.choices  # type: ignore[attr-defined]
    return read_some


class TaskText(str):
    """A task's text with what tables call it and the value that counts; "" where that is left open.

    It equals the text alone, which is what records, hashes and judges go by.
    """

    label: str
    value: str

    def __new__(cls, text: str, label: str = "", value: str = "") -> TaskText:
        made = super().__new__(cls, text)
        made.label, made.value = label, value
        return made

    def with_text(self, text: str) -> TaskText:
        """Another text under the same label."""
        return TaskText(text, self.label, self.value)

    def to_mapping(self) -> dict[str, dict[str, str]]:
        """What task() reads back as the same."""
        word, options = task_options(self)
        more = {key: getattr(self, key) for key in SHOWN if getattr(self, key)}
        return {word: options | more}


SHOWN = ("label", "value")  # keys of a task's mapping that say how it is shown


def task(value: Any) -> str:
    """Reads "name:key=value,key=value", or the mapping {name: {key: value}}, where label and value are
    no options of the task."""
    if isinstance(value, TaskText):
        return value
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError(f"must be a name or one name with its options. Got {value}.")
        ((word, options),) = value.items()
        shown = {}
        if isinstance(options, dict):
            shown = {key: shown_name(key, options[key]) for key in SHOWN if key in options}
            options = ",".join(
                f"{key}={plain(one)}" for key, one in options.items() if key not in SHOWN
            )
        text = name(word) + (f":{options}" if options else "")
        return TaskText(text, **shown) if shown else text
    return name(value)


def shown_name(key: str, value: Any) -> str:
    """A label or the name of a value: a word or several, in one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{key} must be a name in one line. Got {value!r}.")
    return value.strip()


def tasks(value: Any) -> list[str]:
    """Reads tasks, each once and under a name of its own."""
    found = several(task)(value)
    names: list[str] = []
    for text in found:
        names.append(getattr(text, "label", "") or str(text))
        if names[-1] in names[:-1]:
            raise ValueError(f"each has its own label. Got {names[-1]} twice.")
    return found


def plain(value: Any) -> str:
    """A value as tasks read it: true and false as 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def task_options(text: str) -> tuple[str, dict[str, str]]:
    """The name of a task text and its options."""
    word, _, rest = text.partition(":")
    parts = (part.partition("=") for part in rest.split(",") if part)
    return word, {key: value for key, _, value in parts}
