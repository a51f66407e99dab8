"""Judges that are no models of this process."""

from __future__ import annotations

from ._grid import judge_grid
from ._openai import CostLimit, OpenAIJudge
from ._queue import QueueJudge

__all__ = [
    "CostLimit",
    "OpenAIJudge",
    "QueueJudge",
    "judge_grid",
]
