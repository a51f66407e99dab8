"""Writes a trained model as a Hugging Face folder, by hand: versions of transformers differ."""

import json
import pathlib

import safetensors.torch
import torch
from cupel.touchstone.prompts import CHAT_TEMPLATE
from tokenizer_json import tokenizer_json

ROPE_THETA = 10000.0
CONFIG_KEYS = (
    "model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads head_dim hidden_act max_position_embeddings rms_norm_eps "
    "initializer_range tie_word_embeddings attention_bias mlp_bias bos_token_id eos_token_id"
).split()
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def write_json(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write(folder: pathlib.Path, model, tokenizer: bytes) -> None:
    """Weights rounded to bfloat16, config, tokenizer and chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embeddings
    }
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"]}
    config.update({key: getattr(model.config, key) for key in CONFIG_KEYS})
    config.update(rope_theta=ROPE_THETA, torch_dtype="bfloat16")
    write_json(folder / "config.json", config)
    generation = {"bos_token_id": 1, "eos_token_id": 2, "do_sample": False}
    write_json(folder / "generation_config.json", generation)
    write_tokenizer(folder, tokenizer)


def write_tokenizer(folder: pathlib.Path, tokenizer: bytes) -> None:
    """SentencePiece's file, which cupel reads, and those that transformers reads."""
    (folder / "tokenizer.model").write_bytes(tokenizer)
    content = json.dumps(tokenizer_json(tokenizer), indent=1, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(content + "\n", encoding="utf-8")
    write_json(folder / "special_tokens_map.json", SPECIAL)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",  # a Llama's would be BPE
            "add_bos_token": True,
            "add_eos_token": False,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 512,
            **SPECIAL,
        },
    )
