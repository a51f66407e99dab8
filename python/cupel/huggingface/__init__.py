"""Bridges to the Hugging Face libraries, none of which is imported here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compression import compress as compress
    from .result import CompressionResult as CompressionResult
    from .scorer import Scorer as Scorer
    from .token_model import TokenModel as TokenModel
    from .tokenizer import Tokenizer as Tokenizer

_NAMES = {
    "CompressionResult": ".result",
    "Scorer": ".scorer",
    "TokenModel": ".token_model",
    "Tokenizer": ".tokenizer",
    "compress": ".compression",
}

__all__ = [*_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'cupel.huggingface' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name], __name__), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
