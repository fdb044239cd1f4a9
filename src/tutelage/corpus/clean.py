"""Cleaning: what every text goes through, whatever its kind."""

from __future__ import annotations

import re
import unicodedata

_NEWLINES = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Control characters, soft hyphens, zero-width spaces and byte order marks carry no text. The zero-width
# joiner and non-joiner stay: scripts and emoji are spelt with them.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
# Any of the above: most texts have none, and one search is quicker than four substitutions.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\xa0\u00ad\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ud800-\udfff\ufeff]"
)


def clean_text(text: str) -> str:
    """Unicode NFC, Unix newlines, no control characters, no trailing space, at most one blank line in a row.

    Idempotent. Lone surrogates, which no file can hold, become U+FFFD.
    """
    if _ODD.search(text):
        text = _NEWLINES.sub("\n", text)
        text = _SURROGATES.sub("\ufffd", text)
        text = _INVISIBLE.sub("", text)
        text = _SPACES.sub(" ", text)
    text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip("\n").rstrip()
