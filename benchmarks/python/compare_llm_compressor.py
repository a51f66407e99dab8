"""cupel against llm-compressor on a whole random model: time, memory, quality; as a table and JSON.

    python benchmarks/python/compare_llm_compressor.py [--quick] [--repeat 3] [--threads 2] [--anyway]

GPTQ W4A16 (groups of 128, symmetric, damping 0.01, columns in order) and SparseGPT 2:4 (damping 0.01)
on a Llama of 46 M random weights, 32 x 256 calibration tokens, float32, the same token ids and the
same number of threads. llm-compressor passes the text on as cupel does with propagation="block";
"staged", cupel's default, runs as well. llm-compressor is installed below build/peers first.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from peer_runs import Peer, Watch, Weights, Work, compare

DAMPING = 0.01


def compress(
    folder: Path, tokens: torch.Tensor, options: dict[str, Any], batch: int
) -> tuple[Watch, Weights]:
    """llm-compressor's oneshot on a transformers model in memory; runs in its environment."""
    import datasets
    import transformers
    from llmcompressor import oneshot
    from llmcompressor.core import reset_session
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    logging.disable(logging.INFO)
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = {"input_ids": tokens.tolist(), "attention_mask": torch.ones_like(tokens).tolist()}
    kind = {"gptq": GPTQModifier, "sparsegpt": SparseGPTModifier}[options["modifier"]]
    recipe = kind(**options["options"])
    dataset = datasets.Dataset.from_dict(rows)
    names = list(model.state_dict())  # before scales and zero points join them
    reset_session()
    with Watch() as watch:
        oneshot(
            model=model,
            processor=tokenizer,
            dataset=dataset,
            recipe=recipe,
            max_seq_length=tokens.shape[1],
            num_calibration_samples=len(tokens),
            shuffle_calibration_samples=False,
            batch_size=batch,
        )
    made = model.state_dict()
    return watch, {name: made[name] for name in names}


PEER = Peer(
    name="llm-compressor",
    folder="llm_compressor",
    requirements=("llmcompressor==0.14.0.1",),
    versions=("llmcompressor", "compressed-tensors"),
    compress=compress,
    works={
        "gptq": Work(
            "GPTQ W4A16, groups of 128",
            {
                "modifier": "gptq",
                "options": {
                    "targets": "Linear",
                    "scheme": "W4A16",
                    "ignore": ["re:.*lm_head"],
                    "dampening_frac": DAMPING,
                    "block_size": 128,
                    "actorder": None,
                },
            },
            # Its scales are always those of the weights before the solve.
            lambda cupel: cupel.Gptq(
                cupel.Grid(bits=4, group=128, symmetric=True),
                damping=DAMPING,
                block=128,
                static_groups=True,
            ),
            group=128,
            bits=4,
        ),
        "sparsegpt": Work(
            "SparseGPT 2:4",
            {
                "modifier": "sparsegpt",
                "options": {
                    "targets": ["Linear"],
                    "sparsity": 0.5,
                    "mask_structure": "2:4",
                    "ignore": ["re:.*lm_head"],  # a plain "lm_head" is pruned all the same
                    "dampening_frac": DAMPING,
                    "block_size": 128,
                },
            },
            lambda cupel: cupel.SparseGpt(cupel.n_of_m(2, 4), damping=DAMPING, block=128),
            keep=(2, 4),
        ),
    },
    modes=("block", "staged"),
    notes="llm-compressor's time is that of oneshot() on a model in memory, tracing and batching "
    "included; its log lines are printed into a pipe.",
)

if __name__ == "__main__":
    compare(PEER, __file__, __doc__)
