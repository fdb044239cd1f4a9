"""Numbers, sizes and times as a reader wants to see them. Pure functions, no locale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

NONE = "–"
PAIRS_UNIT = "share of pairs"  # of which fewer than FEW_PAIRS are counted out, not given in percent
FEW_PAIRS = 30
COUPLES_UNIT = "share of few couples"  # of a good and a bad one among fewer than FEW_PAIRS answers: counted out, too
MINUS = "−"


def is_number(value: Any) -> TypeGuard[int | float]:
    """True for a finite int or float, but not for a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """Integers with thousands separators, other numbers to `digits` significant digits."""
    if not is_number(value):
        return NONE if value is None else str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        return f"{int(value):,}".replace("-", MINUS)
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def compact(value: Any) -> str:
    """1234567 -> '1.23 M'."""
    if not is_number(value):
        return NONE
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{number(value / limit + 0.0)} {suffix}".replace(",", "")
    return number(value)


def size(value: Any) -> str:
    """Bytes with a decimal unit."""
    if not is_number(value):
        return NONE
    return f"{number(value)} B" if abs(value) < 1e3 else f"{compact(value)}B".replace("kB", "kB")


def duration(seconds: Any) -> str:
    """Seconds as '4.2 s', '3 min 05 s' or '1 h 02 min'."""
    if not is_number(seconds):
        return NONE
    if seconds < 0.05:
        return "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: Any) -> str:
    """0.8312 -> '83.1 %'."""
    return f"{100 * share:.1f} %".replace("-", MINUS) if is_number(share) else NONE


def few_pairs(value: Any, n: Any, unit: str) -> str:
    """A share of few held-out pairs as a count: (.833, 6) -> '5 of 6'; empty if there are enough for a percentage."""
    if unit not in (PAIRS_UNIT, COUPLES_UNIT) or not is_number(value) or not is_number(n):
        return ""
    if unit == PAIRS_UNIT and n >= FEW_PAIRS:
        return ""
    return f"{round(2 * value * n) / 2:g} of {n}" + (" couples" if unit == COUPLES_UNIT else "")


def plural(count: int, one: str, many: str = "") -> str:
    """(1, 'document') -> '1 document'; (2, 'document') -> '2 documents'."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def words(key: str) -> str:
    """A key as words: 'too_short' -> 'too short'."""
    return key.replace("_", " ").strip()


def clip(text: Any, limit: int) -> str:
    """At most `limit` characters, with an ellipsis if truncated."""
    shown = str(text)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def bits(value: Any) -> str:
    """Bits per byte, to three decimals."""
    return f"{value:.3f}" if is_number(value) else NONE


def whole(value: Any) -> str:
    return number(round(value)) if is_number(value) else NONE


def listing(items: Sequence[str]) -> str:
    """('a', 'b', 'c') -> 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def sentence(text: str) -> str:
    """The text with a capital at its start and a full stop; a name that begins in mixed case ("chrF") stays."""
    if not text:
        return ""
    first = text.split(" ")[0]
    begun = text if first != first.lower() else text[0].upper() + text[1:]
    return begun if begun.endswith(".") else f"{begun}."


# How charts write their values, by name, so that a chart stays plain data.
SHOW: dict[str, Callable[[Any], str]] = {
    "number": number,
    "percent": percent,
    "bits": bits,
    "size": size,
    "duration": duration,
    "compact": compact,
    "whole": whole,
}
