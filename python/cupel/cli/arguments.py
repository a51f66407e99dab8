"""Arguments that several sub-commands share, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UsageError


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: an integer from `least` to `most`."""
    span = f"{least} or more" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {span}. Got {text}.")
        return value

    return read


def fraction(text: str) -> float:
    """An argparse type: a fraction."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 1 < value <= 100:
        raise argparse.ArgumentTypeError(
            f"must be a fraction from 0 to 1. Got {text}; for {text} % write {value / 100:g}."
        )
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1. Got {text}.")
    return value


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL, --dtype and --device."""
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="Hugging Face model folder (safetensors)"
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the weights; auto = as stored (default)",
    )
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")


def check_length(length: int, positions: int) -> None:
    """Refuses windows that the model has no positions for."""
    if length > positions:
        raise UsageError(
            f"--length is at most {positions}, the positions that the model has. Got {length}."
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder: cupel's own, or transformers' where there is no .model."""
    import cupel

    if (folder / "tokenizer.model").exists() or not (folder / "tokenizer.json").is_file():
        return cupel.load_tokenizer(folder)
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        raise ImportError(
            f"{folder} has a tokenizer.json and no tokenizer.model; reading it takes transformers: "
            "pip install 'cupel[huggingface]'."
        ) from None
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
