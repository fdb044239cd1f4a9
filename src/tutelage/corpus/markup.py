"""Inline marks of reStructuredText, Markdown and HTML, taken off a line of text."""

from __future__ import annotations

import re

_ROLE = re.compile(r":[\w:+-]+:`([^`]+)`")
_TITLED = re.compile(r"^(.*?)\s*<[^<>]*>$")
_LITERAL = re.compile(r"``(.+?)``")
_QUOTED = re.compile(r"`([^`]+)`_{0,2}")
_APOSTROPHED = re.compile(r"(?::[\w:+-]+:)?`([^`'\s]+)'")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
_STRONG = re.compile(r"(?<![\w*])\*\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*\*(?![\w*])")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?![\w*])")
_UNDERSCORED = re.compile(r"(?<!\w)_(?=[^\s_])([^_]+?)(?<=[^\s_])_(?!\w)")
_EPYTEXT = re.compile(r"\b[LCBIMU]\{([^{}]*)\}")
# With the preposition before it: "the model in [1]_ includes" is to read "the model includes".
_FOOTNOTE = re.compile(r"(?:\s+(?:in|from|see|by|of|on|and|to|e\.g\.)|,)?\s*\[[#\w*-]{1,12}\]_")
_BRACKETED = re.compile(r"\[`([^`\]]+)`\](?!\()")
_TAG = re.compile(r"</?(?:a|b|i|em|p|br|code|tt|pre|strong|span|div|sub|sup)\b[^<>]*>")


def strip_markup(text: str) -> str:
    """Take inline reStructuredText and Markdown marks off one line: ``x`` and :func:`x` become x."""
    if "`" in text:
        text = _BRACKETED.sub(r"`\1`", text)
        text = _ROLE.sub(lambda match: _target(match[1]), text)
        text = _LITERAL.sub(r"\1", text)
        text = _QUOTED.sub(lambda match: _target(match[1]), text)
        text = _APOSTROPHED.sub(r"\1", text)
    if "*" in text:
        text = _EMPHASIS.sub(r"\1", _STRONG.sub(r"\1", text))
        text = text.replace("\\*", "*")
    if "[" in text:
        text = _LINK.sub(r"\1", _FOOTNOTE.sub("", text))
    if "{" in text:
        text = _EPYTEXT.sub(r"\1", text)
    if "_" in text:
        text = _UNDERSCORED.sub(r"\1", text)
    if "<" in text:
        text = _TAG.sub("", text)
    return " ".join(text.split())


def _target(inside: str) -> str:
    """What a reader sees of a reference: its title, or the last part of a `~shortened.name`."""
    titled = _TITLED.match(inside)
    if titled and titled[1]:
        return titled[1]
    if inside.startswith("~"):
        return inside.rsplit(".", 1)[-1].lstrip("~")
    return inside.lstrip("!")
