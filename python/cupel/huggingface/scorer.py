"""Scores of text by a causal language model of transformers."""

from __future__ import annotations

from typing import Any

import cupel

from .token_model import TokenModel


class Scorer(cupel.ModelScorer):
    """A `cupel.ModelScorer` over a model and a tokenizer of transformers.

    Args:
        model: See cupel.huggingface.TokenModel.
        tokenizer: Any Hugging Face tokenizer, or cupel's own.
        max_length: Most tokens of a sequence; None = what the model's config says.
        **options: Those of cupel.ModelScorer.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int | None = None, **options: Any):
        super().__init__(TokenModel(model, max_length), tokenizer, **options)
