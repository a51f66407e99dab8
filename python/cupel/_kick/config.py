"""A grid from a YAML file: unknown and repeated keys are errors, with their line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .grid import FIELDS, KickGrid
from .options import TaskText


class Loader(yaml.SafeLoader):
    """Safe YAML whose plain numbers are those of YAML 1.2.

    In YAML 1.1, which PyYAML reads, 2:4 is a number in base 60, and 1e-2 a text.
    """


Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":int", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?\d+$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)
Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node))
)
Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node))
)


def read_config(
    file: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """The options that a YAML file sets.

    Paths in it (`calibration`, `data`, `text`, a task's `file`) are relative to its folder, or to
    `folder`.

    Raises:
        FormatError: No UTF-8, no YAML, no mapping, an unknown key, one that stands twice, a value that
            is not of its kind; names the line.
    """
    from .._load import compiled

    path = Path(file)

    def refuse(line: int | None, rule: str) -> None:
        error = compiled().FormatError
        where = "" if line is None else f"line {line}"
        made = error(": ".join(part for part in (str(path), where, rule) if part))
        made.file, made.where, made.rule = str(path), where, rule
        raise made from None

    try:
        loader = Loader(path.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            refuse(None, "there is nothing in it.")
        if not isinstance(node, yaml.MappingNode):
            refuse(node.start_mark.line + 1, "a grid is a mapping, KEY: VALUE on each line.")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key not in FIELDS:
                refuse(line, f"unknown key {key}; known: {', '.join(FIELDS)}.")
            if key in found:
                refuse(line, f"{key} stands twice.")
            value = loader.construct_object(value_node, deep=True)
            if value is None:  # "length:" and "length: null": as if it were not there
                continue
            try:
                found[key] = FIELDS[key].metadata["read"](value)
            except ValueError as error:
                refuse(value_node.start_mark.line + 1, f"{key}: {error}")
    except UnicodeDecodeError:
        refuse(None, "it is not UTF-8.")
    except OSError as error:
        refuse(None, f"{error.strerror}.")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        refuse(mark.line + 1 if mark else None, getattr(error, "problem", None) or "no YAML.")
    return relative_to(found, path.parent if folder is None else Path(folder))


def relative_to(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Options with their paths below `folder`, unless they are absolute."""

    def below(value: str) -> str:
        return os.path.normpath(os.path.join(folder, os.path.expanduser(value)))

    for key, value in found.items():
        if FIELDS[key].metadata.get("path"):
            found[key] = below(value)
    if "tasks" in found:
        found["tasks"] = [task_below(text, below) for text in found["tasks"]]
    return found


def task_below(text: str, below: Callable[[str], str]) -> str:
    """A task text with its file below a folder."""
    name, colon, rest = str(text).partition(":")
    parts = (
        f"file={below(part[5:])}" if part.startswith("file=") else part for part in rest.split(",")
    )
    moved = name + colon + ",".join(parts)
    return text.with_text(moved) if isinstance(text, TaskText) else moved


def make_grid(
    grid: KickGrid | Mapping[str, Any] | str | os.PathLike[str] | None, changes: Mapping[str, Any]
) -> KickGrid:
    """A grid from an object, a mapping or a YAML file, with `changes` in place of what it says."""
    if isinstance(grid, KickGrid):
        found = grid.to_dict()
    elif isinstance(grid, str | os.PathLike):
        found = read_config(grid)
    else:
        found = dict(grid or {})
    found |= changes
    for key in found:
        if key not in FIELDS:
            raise ValueError(f"[KickGrid] unknown option {key}; known: {', '.join(FIELDS)}.")
    return KickGrid(**found)
