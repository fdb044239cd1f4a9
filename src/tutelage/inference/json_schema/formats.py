"""Formats as schemas: of strings by exact patterns where there are such, of numbers by bounds."""

from __future__ import annotations

from tutelage.inference.json_schema.keywords import FORMATS, Schema

# A day that there is, by the Gregorian calendar: the 29th of February of leap years only. From the year 1 on.
_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = rf"(?:{_YEAR}-{_DAY}|{_LEAP}-02-29)"
# RFC 3339 without leap seconds, which are no seconds but on the few days that have one.
_HOUR = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{_HOUR})"
_PATTERNS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}

_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def string_format(name: str) -> Schema | None:
    """What a string of this format must be, None for a format that is not known."""
    if name in _PATTERNS:
        return {"pattern": _PATTERNS[name]}
    return {"format": name} if name in FORMATS else None


def numeric_format(name: str) -> Schema | None:
    """What a number of this format must be, as OpenAPI has them; None for what is none."""
    if name in _BITS:
        half = 2 ** (_BITS[name] - 1)
        return {"minimum": -half, "maximum": half - 1}
    if name.removeprefix("u") in _BITS:
        return {"minimum": 0, "maximum": 2 ** _BITS[name.removeprefix("u")] - 1}
    return True if name in ("float", "double") else None  # every number is written in decimals
