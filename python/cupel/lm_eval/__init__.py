"""cupel's models for lm-eval, which is imported when `LM` is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lm import LM as LM

__all__ = ["LM"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name != "LM":
        raise AttributeError(f"module 'cupel.lm_eval' has no attribute {name!r}")
    try:
        from .lm import LM
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lm_eval":
            raise
        raise ImportError(
            "cupel.lm_eval needs lm-eval 0.4.13 or later, which is not installed: "
            "pip install 'cupel[lm-eval]'."
        ) from None
    globals()[name] = LM  # the next use does not come here
    return LM


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
