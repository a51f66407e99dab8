"""Loads the compiled module, or says in one sentence why it cannot be loaded."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType


@functools.cache
def build() -> ModuleType:
    """What the compiled module was made for (written by the build)."""
    try:
        return importlib.import_module("cupel._build")
    except ModuleNotFoundError as error:
        if error.name != "cupel._build":
            raise
    raise ImportError(
        "cupel's compiled module is missing here: install the package "
        "(pip install cupel, or `make build` in a clone) and import that one."
    )


@functools.cache
def compiled() -> ModuleType:
    """The module cupel._cupel.

    Raises:
        ImportError: torch is missing or is another minor version than the module was built for. C++
            libraries of torch are not interchangeable: loading it anyway would crash or, worse, not.
    """
    minor = build().TORCH_MINOR
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        missing = f"cupel needs torch {minor}, which is not installed: {_how(minor)}."
        raise ImportError(missing) from None
    found = ".".join(torch.__version__.split(".")[:2])
    if found != minor:
        raise ImportError(
            f"this build of cupel works with torch {minor} only, and torch {torch.__version__} is "
            f"installed: {_how(minor)}, or build cupel against yours (docs/install.md)."
        )
    return importlib.import_module("cupel._cupel")


def _how(minor: str) -> str:
    return f"pip install 'torch=={minor}.*'"
