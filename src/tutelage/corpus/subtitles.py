"""What is spoken in subtitles (SubRip, WebVTT): no numbers, times, styles and tags."""

from __future__ import annotations

import html
import re

_TIMES = re.compile(r"^\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}")
_TAGS = re.compile(r"</?[A-Za-z\d][^<>\n]*>|\{\\[^{}\n]*\}")  # <i>, <v Speaker>, <00:00:01.000>, {\an8}
_SPACE = re.compile(r"[ \t]+")


def spoken(text: str) -> str:
    """The lines of the cues, one after the other; a line that the next cue repeats (captions that roll) comes once."""
    said: list[str] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        begin = next((at for at, line in enumerate(lines[:2]) if _TIMES.match(line)), None)
        for line in lines[begin + 1 :] if begin is not None else ():
            plain = _SPACE.sub(" ", html.unescape(_TAGS.sub("", line))).strip()
            if plain and plain not in said[-2:]:
                said.append(plain)
    return "\n".join(said)
