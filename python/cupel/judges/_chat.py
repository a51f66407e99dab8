"""From system and user text to a model's prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def plain_chat(system: str, user: str) -> str:
    """A prompt for models without a chat template."""
    return f"{system}\n\n{user}\n\n" if system else f"{user}\n\n"


def vicuna_chat(system: str, user: str) -> str:
    """A prompt as Vicuna v1.1 was trained on."""
    return f"{system} USER: {user} ASSISTANT:" if system else f"USER: {user} ASSISTANT:"


def huggingface_chat(tokenizer: Any) -> Callable[[str, str], str]:
    """The chat template of a transformers tokenizer, as the `format` of LocalJudge.

    Raises:
        ValueError: The tokenizer has none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("[huggingface_chat] the tokenizer has no chat_template.")

    def make(system: str, user: str) -> str:
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # The scorer puts the begin-of-sequence token in front itself.
        start = tokenizer.bos_token or ""
        return text[len(start) :] if start and text.startswith(start) else text

    return make
