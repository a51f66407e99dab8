"""cupel against GPTQModel on a whole random model: time, memory, quality; as a table and JSON.

    python benchmarks/python/compare_gptqmodel.py [--quick] [--repeat 3] [--threads 2] [--anyway]

GPTQ with 4 bits in groups of 128, symmetric, damping 0.01, columns in order (desc_act and act_group_aware
off), on a Llama of 46 M random weights, 32 x 256 calibration tokens, float32, the same token ids and
the same number of threads. GPTQModel passes the text on stage by stage, as cupel does with
propagation="staged". GPTQModel is installed below build/peers first, in an environment of its own
because it pins another numpy.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from peer_runs import Peer, Watch, Weights, Work, compare

BITS, GROUP, DAMPING = 4, 128, 0.01


def compress(
    folder: Path, tokens: torch.Tensor, options: dict[str, Any], batch: int
) -> tuple[Watch, Weights]:
    """GPTQModel's quantize() on a model that it loaded; runs in its environment."""
    from gptqmodel import GPTQConfig, GPTQModel

    config = GPTQConfig(**options, device="cpu", offload_to_disk=False)
    model = GPTQModel.load(str(folder), config, dtype=torch.float32)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in tokens.tolist()]
    with Watch() as watch:
        model.quantize(rows, batch_size=batch, calibration_sort=None)
    with tempfile.TemporaryDirectory() as saved:
        model.save(saved)
        return watch, read_packed(Path(saved))


def read_packed(folder: Path) -> Weights:
    """Dense float32 weights of a folder in the format gptq: what a user gets."""
    from safetensors.torch import load_file

    stored: Weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    shifts = torch.arange(0, 32, BITS)
    weights: Weights = {}
    for name, tensor in stored.items():
        layer, kind = name.rsplit(".", 1)
        if kind == "qweight":  # int32 [in / 8, out], lowest code first
            codes = ((tensor[:, None] >> shifts[:, None]) & 15).flatten(0, 1)
            zeros = stored[layer + ".qzeros"]  # int32 [groups, out / 8], one less than they are
            zeros = ((zeros[..., None] >> shifts) & 15).flatten(1) + 1
            groups = stored[layer + ".g_idx"].long()
            scales = stored[layer + ".scales"].float()
            weights[layer + ".weight"] = ((codes - zeros[groups]) * scales[groups]).T.contiguous()
        elif kind not in ("qzeros", "g_idx", "scales"):
            weights[name] = tensor
    return weights


PEER = Peer(
    name="GPTQModel",
    folder="gptqmodel",
    requirements=("gptqmodel==7.6.0",),
    versions=("gptqmodel",),
    compress=compress,
    works={
        "gptq": Work(
            "GPTQ 4 bits, groups of 128",
            {
                "bits": BITS,
                "group_size": GROUP,
                "sym": True,
                "desc_act": False,
                "act_group_aware": False,
                "damp_percent": DAMPING,
                "mse": 0.0,
            },
            # It stores scales in float16.
            lambda cupel: cupel.Gptq(
                cupel.Grid(bits=BITS, group=GROUP, symmetric=True, scale_dtype="float16"),
                damping=DAMPING,
                block=128,
            ),
            group=GROUP,
            bits=BITS,
        )
    },
    modes=("staged",),
    notes="GPTQModel's time is that of quantize(), which packs the codes at its end; cupel packs when "
    "it saves.",
    # Without it GPTQModel 7.6 ends in an error on machines of two cores.
    environment={"GPTQMODEL_CPU_WORKERS": "2"},
)

if __name__ == "__main__":
    compare(PEER, __file__, __doc__)
