"""Sizes of a model folder, from its files' headers and from what cupel.json says."""

from __future__ import annotations

import json
from pathlib import Path


def tensor_bytes(folder: Path) -> dict[str, int]:
    """Bytes of each tensor in the .safetensors files of a folder that cupel has read before."""
    sizes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            sizes[name] = end - begin
    return sizes


def packed_bytes(folder: Path) -> int:
    """Bytes of a compressed model if it were stored packed (computed); 0 = nothing says so.

    That is what cupel.json gives for each compressed layer, plus every other tensor as it is.
    """
    record = folder / "cupel.json"
    if not record.is_file():
        return 0
    packed = {
        f"{layer['name']}.weight": layer["packed_bytes"]
        for run in json.loads(record.read_text(encoding="utf-8"))["compression"]
        for layer in run["layers"]  # of a layer compressed twice, the later one counts
    }
    if not packed:
        return 0
    return sum(packed.get(name, size) for name, size in tensor_bytes(folder).items())
