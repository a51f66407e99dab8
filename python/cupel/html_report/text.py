"""Numbers and foreign text as the report shows them."""

from __future__ import annotations

import math
import unicodedata

NONE = "–"  # no value
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # unseen, or able to reorder what is seen
JOINERS = "\u200c\u200d"  # unseen, and part of how some scripts are written


def visible(text: object, limit: int | None = None) -> str:
    """`text` in one line, with what cannot be seen written out and the rest of a long one counted.

    Line ends become an arrow; control characters, lone surrogates and marks that change the direction
    of writing become \\u{...}.
    """
    whole = str(text)
    cut = whole if limit is None or len(whole) <= limit else whole[:limit]
    shown = []
    for c in cut.replace("\r\n", "\n"):
        if c == "\n":
            shown.append("↵ ")
        elif c == "\t":
            shown.append("⇥ ")
        elif unicodedata.category(c) in HIDDEN and c not in JOINERS:
            shown.append(f"\\u{{{ord(c):x}}}")
        else:
            shown.append(c)
    if len(cut) < len(whole):
        shown.append(f" […{len(whole) - len(cut):,} more characters]")
    return "".join(shown)


def known(value: float | None) -> bool:
    """Whether there is a number at all."""
    return value is not None and not math.isnan(value)


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Fixed digits, a real minus, "–" for no value."""
    if not known(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if text.lstrip("+-").strip("0.") == "":
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """0.951 as 95.1 %."""
    return NONE if not known(value) else number(100 * value, digits) + " %"


def span(low: float | None, high: float | None, digits: int = 3, sign: bool = True) -> str:
    """An interval."""
    if not known(low) or not known(high):
        return NONE
    return f"{number(low, digits, sign)} to {number(high, digits, sign)}"


def p_value(value: float | None) -> str:
    """Small ones by their power of ten."""
    if not known(value):
        return NONE
    return number(value, 3) if value >= 0.001 else "<0.001"


def ratio(value: float | None) -> str:
    """A ratio of perplexities: digits where it is near 1, none where it is huge."""
    if not known(value) or math.isinf(value):
        return number(value)
    if value >= 1000:
        return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    return number(value, 3 if value < 10 else 1)


def count_bytes(value: float | None) -> str:
    """12.3 MB; powers of 1000."""
    if not known(value) or not value:
        return NONE
    power = min(max((len(str(int(value))) - 1) // 3, 0), 4)
    return f"{value / 1000**power:.3g} {('', 'k', 'M', 'G', 'T')[power]}B"


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def many(count: int, noun: str, plural: str = "") -> str:
    """1 task, 2 tasks."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
