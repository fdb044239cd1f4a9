"""Patterns of JSON schemas, which are those of ECMA-262, for llguidance, which reads them as Rust's and within the
quotes of JSON."""

from __future__ import annotations

from collections.abc import Iterable

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
