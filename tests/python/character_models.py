"""A tiny model of characters, as cupel's and as transformers'."""

import json

import cupel
import pytest
from conftest import TINY_CONFIG, tiny_state_dict

CONFIG = TINY_CONFIG | {"vocab_size": 128}


def hf_tokenizer(bos=True):
    """One id a character, as a tokenizer of transformers; `bos` says whether it adds one."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    names = ["<unk>", "<s>", "</s>", "\n", *map(chr, range(32, 127))]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    if bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def both_models():
    """The same weights as a model of cupel and as one of transformers."""
    transformers = pytest.importorskip("transformers")
    weights = tiny_state_dict(CONFIG)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).eval()
    theirs.load_state_dict(weights)
    return cupel.make_model(json.dumps(CONFIG), weights), theirs


def uniform():
    """Every token equally likely."""
    weights = tiny_state_dict(CONFIG)
    weights["lm_head.weight"].zero_()
    return cupel.make_model(json.dumps(CONFIG), weights)


def write_jsonl(path, texts):
    """A document a line."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path
