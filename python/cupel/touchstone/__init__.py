"""Touchstone: the small model that ships with cupel, and the made-up world it was trained on.

`world.write_world` writes what the world is asked as files of the real tasks; it needs the standard
library only. examples/touchstone trains and measures the model.
"""

from pathlib import Path

WORLD_SEED = 0  # of the world that the shipped model knows
CALIBRATION = "calibration.txt"  # the training mix: the world's text/calibration.txt
HELDOUT = "heldout.txt"  # profiles of known people: the world's text/facts.txt
FILES = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    CALIBRATION,
    HELDOUT,
)


def folder() -> Path:
    """The folder of the shipped files, which is also a Hugging Face model folder."""
    return Path(__file__).resolve().parent / "files"
