"""Judges that are no models of this process, and prompt formats for those that are."""

from __future__ import annotations

from ._chat import huggingface_chat, plain_chat, vicuna_chat
from ._openai import CostLimit, OpenAIJudge
from ._queue import QueueJudge

__all__ = [
    "CostLimit",
    "OpenAIJudge",
    "QueueJudge",
    "huggingface_chat",
    "plain_chat",
    "vicuna_chat",
]
