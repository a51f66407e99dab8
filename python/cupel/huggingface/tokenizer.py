"""Hugging Face tokenizers as tokenizers of cupel."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import cupel


class Tokenizer(cupel.Tokenizer):
    """A Hugging Face tokenizer as a cupel tokenizer.

    Every function of cupel that takes a tokenizer makes this of what it is given, so that it is
    seldom written out.

    Args:
        tokenizer: From transformers (fast or slow), or a `tokenizers.Tokenizer`. The latter does not
            say which ids begin and end a text: `bos` and `eos` are then -1.

    Raises:
        TypeError: It has no `encode` and `decode`.
        ValueError: A `tokenizers.Tokenizer` that cuts or pads what it encodes.
    """

    def __init__(self, tokenizer: Any):
        super().__init__()
        if isinstance(tokenizer, str) or not all(
            callable(getattr(tokenizer, method, None)) for method in ("encode", "decode")
        ):
            raise TypeError(
                "[Tokenizer] a tokenizer is cupel's own (load_tokenizer), one of transformers or a "
                f"tokenizers.Tokenizer. Got {type(tokenizer).__name__}."
            )
        self.tokenizer = tokenizer
        # transformers says how to leave special tokens out of a vocabulary; the bare library names
        # its methods otherwise.
        self._bare = hasattr(tokenizer, "get_vocab_size")
        if self._bare and (
            getattr(tokenizer, "truncation", None) or getattr(tokenizer, "padding", None)
        ):
            raise ValueError(
                "[Tokenizer] texts are encoded whole, without truncation or padding; call "
                "no_truncation() and no_padding() on the tokenizer. Got one that has them on."
            )

    def encode(self, text: str, special_tokens: bool = True) -> list[int]:
        """Token ids; with `special_tokens` those that the tokenizer adds to a text, once."""
        if self._bare:
            return self.tokenizer.encode(text, add_special_tokens=special_tokens).ids
        # verbose=False: texts longer than the model are the rule here, and no reason to warn.
        encoded = self.tokenizer(
            text, add_special_tokens=special_tokens, truncation=False, padding=False, verbose=False
        )
        return list(encoded["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """Text of ids, special tokens left out."""
        if self._bare:
            return self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    @property
    def vocabulary(self) -> int:
        """Every id is below this, in vocabularies with gaps too."""
        size = self.tokenizer.get_vocab_size() if self._bare else len(self.tokenizer)
        return max(size, 1 + max(self.tokenizer.get_vocab().values(), default=-1))

    @property
    def bos(self) -> int:
        """Id that begins a text, or -1."""
        return self._special("bos_token_id")

    @property
    def eos(self) -> int:
        """Id that ends a text, or -1."""
        return self._special("eos_token_id")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what defines the tokenizer, the same on every machine."""
        backend = getattr(self.tokenizer, "backend_tokenizer", self.tokenizer)
        if hasattr(backend, "to_str"):
            definition = json.loads(backend.to_str())
            # Set by calls, not by the tokenizer's files.
            definition.pop("truncation", None)
            definition.pop("padding", None)
        else:
            config = getattr(self.tokenizer, "init_kwargs", {})
            definition = {
                "class": type(self.tokenizer).__name__,
                "vocabulary": self.tokenizer.get_vocab(),
                # Where it was loaded from is no part of what it is.
                "config": {
                    key: value
                    for key, value in config.items()
                    if key != "name_or_path" and not key.endswith("_file")
                },
            }
        text = json.dumps(definition, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _special(self, name: str) -> int:
        found = getattr(self.tokenizer, name, None)
        return -1 if found is None else int(found)
