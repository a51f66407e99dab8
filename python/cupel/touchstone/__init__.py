"""Touchstone: the small model that ships with cupel, and the made-up world it was trained on.

`world` builds the world and `texts` writes about it, both with the standard library only.
"""

from pathlib import Path

CALIBRATION = "calibration.txt"
HELDOUT = "heldout.txt"
PROVENANCE = "provenance.json"
FILES = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    CALIBRATION,
    HELDOUT,
    PROVENANCE,
)


def folder() -> Path:
    """The folder of the shipped files, which is also a Hugging Face model folder."""
    return Path(__file__).resolve().parent / "files"
