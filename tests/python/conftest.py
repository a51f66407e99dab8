"""Tiny seeded models, and the way to real data that is not part of the project."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

# OpenMP's threads wait by spinning unless told otherwise, before torch is imported. With other work
# on the machine, a second test run say, each small operation then waits for a time slice.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).resolve().parents[2]

# Grouped-query heads, an intermediate size that 128 does not divide.
TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "torch_dtype": "float32",
}


def tiny_state_dict(config, seed=0):
    """Seeded weights for `config` under their Hugging Face names."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def make(*shape, scale=None):
        return torch.randn(*shape, generator=generator) * (scale or shape[-1] ** -0.5)

    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    key_value = head * config["num_key_value_heads"]
    tensors = {
        "model.embed_tokens.weight": make(config["vocab_size"], hidden, scale=1.0),
        "model.norm.weight": 1 + make(hidden, scale=0.1),
        "lm_head.weight": make(config["vocab_size"], hidden),
    }
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name, shape in shapes.items():
            tensors[f"{prefix}.{name}.weight"] = make(*shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{norm}.weight"] = 1 + make(hidden, scale=0.1)
    return tensors


@pytest.fixture
def tiny():
    """A function that makes the same small model each time."""
    import cupel

    return lambda: cupel.make_model(json.dumps(TINY_CONFIG), tiny_state_dict(TINY_CONFIG))


@pytest.fixture
def tokens():
    """Calibration tokens for `tiny`, int64 [8, 32]."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, TINY_CONFIG["vocab_size"], (8, 32), generator=generator)


@pytest.fixture(scope="session")
def shared_path():
    """A function: the path of real data, or a skip that says what is missing."""
    root = Path(os.environ.get("CUPEL_SHARED", REPOSITORY.parent / "shared"))

    def find(relative):
        path = root / relative
        if not path.exists():
            pytest.skip(f"{path} is not there (CUPEL_SHARED names the folder of real data)")
        return path

    return find


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory):
    """A SentencePiece .model of 96 pieces, trained on a few made-up words."""
    spm = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("tokenizer")
    lines = [words(40, seed) for seed in range(100)]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    spm.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=TINY_CONFIG["vocab_size"],
        model_type="bpe",
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def words(count, seed=0):
    """`count` made-up words."""
    import random

    rng = random.Random(seed)
    parts = ["ka", "lo", "mi", "ren", "tu", "sa", "vo", "ner"]
    return " ".join("".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(count))


@pytest.fixture
def tiny_folder(tiny, tokenizer_model, tmp_path):
    """The tiny model as a folder with a tokenizer, beside calibration.txt and heldout.txt."""
    import cupel

    folder = tmp_path / "tiny"
    cupel.save_model(tiny(), folder)
    (folder / "tokenizer.model").write_bytes(tokenizer_model.read_bytes())
    (tmp_path / "calibration.txt").write_text(words(1500, 1), encoding="utf-8")
    (tmp_path / "heldout.txt").write_text(words(400, 2), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def command():
    """Runs `cupel ARGUMENTS` in a process of its own."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "cupel", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )

    return run


@pytest.fixture
def recorded(tmp_path):
    """A function: made-up dialogues, of a task that is there for one test, and their record; its folder."""
    from judge_helpers import dialogues_task, record

    with dialogues_task():
        yield partial(record, tmp_path)
