"""Patterns of JSON schemas, which are those of ECMA-262, for llguidance, which reads them as Rust's and within the
quotes of JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

_ANY = r"[^\n\r\u2028\u2029\x00]"
_NO_SPACE = r"[^\s\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff\x00]"


def portable(pattern: str) -> str:
    """The same pattern where the two read it differently; a pattern that is none stays one that is none.

    - A class with U+0000 in it, such as `[^"]`, would let `"` and `\\` through: it is left out of classes.
    - `[` and `&&` in a class stand for themselves, where Rust has classes within classes and intersections.
    - `.` is no end of a line of any kind, `\\S` no white space of any script.
    """
    made, at = "", 0
    while at < len(pattern):
        if pattern[at] == "\\":
            pair = pattern[at : at + 2]
            made += _NO_SPACE if pair == r"\S" else pair
            at += 2
        elif pattern[at] == ".":
            made += _ANY
            at += 1
        elif pattern[at] == "[":
            end = _end_of_class(pattern, at)
            made += _class(pattern[at + 1 : end]) + pattern[end : end + 1]
            at = end + 1
        else:
            made += pattern[at]
            at += 1
    return made


def _end_of_class(pattern: str, start: int) -> int:
    at = start + 1 + (pattern[start + 1 : start + 2] == "^")
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at


def _class(inner: str) -> str:
    """The beginning of a class up to its end."""
    negated, listed = inner[:1] == "^", inner.removeprefix("^")
    made, at = "", 0
    while at < len(listed):
        step = 2 if listed[at] == "\\" else 1
        part = listed[at : at + step]
        made += rf"\{part}" if part == "[" or (part == "&" and listed[at + 1 : at + 2] == "&") else part
        at += step
    return rf"[^{made}\x00" if negated else f"[{made}"


_PART = r"\[\^?(?:\\.|[^\]\\])+\]|\\[dDwWsS]|\\[^A-Za-z0-9]|[A-Za-z0-9 _,:;<>=@#%&~!\"'/-]"
_REPEATED = re.compile(rf"(\^?)({_PART})(?:([*+?])|\{{(\d+)(,?)(\d*)\}})?(\$?)")
_LITERAL = r"(?:\\[^A-Za-z0-9]|[A-Za-z0-9 _,:;<>=@#%&~!\"'/-])+"
_LITERALS = re.compile(rf"\^(?:({_LITERAL})|\((?:\?:)?({_LITERAL}(?:\|{_LITERAL})*)\))(\$?)")


def without_pattern(pattern: str) -> list[dict[str, Any]] | None:
    """Schemas of strings that together are those in which a portable pattern finds nothing; None where these are not
    easily told. Told are those of one character or class, repeated or not, and of literals at the beginning."""
    if (found := _LITERALS.fullmatch(pattern)) is not None:
        texts = [re.sub(r"\\(.)", r"\1", one) for one in re.split(r"(?<!\\)\|", found[1] or found[2])]
        return [{"pattern": pattern_without(texts) if found[3] else f"^(?:{_not_beginning(sorted(set(texts)))})$"}]
    if (found := _REPEATED.fullmatch(pattern)) is None:
        return None
    begins, one, sign, low, comma, high, ends = found.groups()
    least, most = {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1), None: (1, 1)}[sign]
    if low is not None:
        least, most = int(low), int(high) if high else math.inf if comma else int(low)
    other, few = _other(one), f"(?:{one}){{0,{least - 1}}}"
    if begins and ends:
        lengths = [{"maxLength": least - 1}] if least else []
        return [{"pattern": other}, *lengths, *([{"minLength": int(most) + 1}] if most < math.inf else [])]
    if not least:  # found in every string
        return []
    if begins:
        return [{"pattern": rf"^{few}(?:{other}[\s\S]*)?$"}]
    if ends:
        return [{"pattern": rf"^(?:[\s\S]*{other})?{few}$"}]
    return [{"pattern": f"^{other}*$"}] if least == 1 else None


def _other(one: str) -> str:
    """The class of all characters but those of a class or a character."""
    if one.startswith("[^"):
        return "[" + one[2:].replace(r"\x00]", "]")
    return rf"[^{one[1:-1] if one.startswith('[') else _in_class(one)}\x00]"


def _in_class(one: str) -> str:
    return one if len(one) > 1 else _character(one)


def _not_beginning(endings: list[str]) -> str:
    """Strings that begin with none of these."""
    after: dict[str, list[str]] = {}
    for ending in endings:
        after.setdefault(ending[0], []).append(ending[1:])
    going = {first: rest for first, rest in after.items() if "" not in rest}
    branches = ["", *(f"{_character(first)}(?:{_not_beginning(rest)})" for first, rest in going.items())]
    return "|".join([*branches, rf"[^{''.join(map(_character, after))}\x00][\s\S]*"])


def pattern_without(texts: Iterable[str]) -> str:
    """A regular expression of all strings but these few, by the tree of their beginnings."""
    return f"^(?:{_without(sorted(set(texts)))})$"


def _without(endings: list[str]) -> str:
    branches = [] if "" in endings else [""]
    after: dict[str, list[str]] = {}
    for ending in endings:
        if ending:
            after.setdefault(ending[0], []).append(ending[1:])
    branches += [f"{_character(first)}(?:{_without(rest)})" for first, rest in after.items()]
    other = "".join(map(_character, after))
    branches.append(rf"[^{other}\x00][\s\S]*" if other else r"[\s\S]+")
    return "|".join(branches)


def _character(one: str) -> str:
    """A character in a pattern, within a class or not."""
    return one if one.isalnum() or not one.isascii() else rf"\x{ord(one):02x}"
