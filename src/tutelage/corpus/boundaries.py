"""Where one document of a text file ends and the next begins: as the settings say, or guessed from the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tutelage.corpus.passages import ENDS, is_lines
from tutelage.corpus.scripts import count_text_words, units_of

BOUNDARIES = {
    "file": "each file is one document",
    "blank_line": "documents stand a blank line apart",
    "line": "each line is a document",
    "heading": "a document begins at each heading of the highest level",
    "marker": "documents end at end-of-text markers, which are taken out",
}

# End-of-text and beginning-of-text tokens of published models; quoted ones are talked about, not meant.
_MARKER = re.compile(
    r"""(?<![`'"“‘(])(?:<\|(?:endoftext|end_of_text|startoftext|begin_of_text|eos|bos|eot_id|im_end)\|>"""
    r"""|<(?:eos|bos|EOS|BOS|EOD|EOT|endoftext)>|\[(?:EOS|BOS|EOD)\]|<｜(?:begin|end)▁of▁sentence｜>)(?![`'"”’)])"""
)
_HINT_OF_MARKER = re.compile(r"[<\[][|/｜sbeBE]|\f")
_BEGIN = re.compile(r"^[ \t]*</?s>", re.MULTILINE)  # elsewhere in a line `<s>` is struck out
_END = re.compile(r"^((?:(?!<s>).)*)</s>[ \t]*$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_FENCE = re.compile(r"^\s*(```|~~~)")
_HEADINGS = (
    re.compile(r"^(#{1,6}) +\S"),  # Markdown
    re.compile(r"^ ?(=+) [^=].* \1 *$"),  # wikitext
    re.compile(r"^(?:CHAPTER|Chapter|BOOK|PART|ACT)\s+(?:[IVXLC]+|\d+|[A-Z][a-z]+)\b()"),  # only where it is asked for
)
_MOST = 3000  # units that are compared, and characters of each
# Of hundreds of units, running text has a relatedness of 2.3 to 7.5, independent texts of 0.9 to 1.4 (measured on 20
# books and 9 sets of rows); few units scatter. A file of lines is one of separate texts unless it shows otherwise, a
# file of paragraphs one running text.
_RELATED_LINES, _RELATED_PARAGRAPHS = 2.0, 1.5
_MANY = 100  # paragraphs
_TELLS = 0.2  # less relatedness is that of texts that share no words at all, or all of them
_TINY, _TINY_LINES = (
    4,
    0.25,
)  # words of a line that is hardly a text (a title, a name), and how many of the lines may be so
_COMMON = 0.05  # share of the units that have a word, above which it says nothing of what they are about


def documents_of(text: str, boundary: str, marker: str = "", plain: bool = True) -> tuple[str, list[str]]:
    """(which boundary was taken, the documents of a decoded text); blank ones are left out.

    `boundary`: `auto` or one of `BOUNDARIES`. `marker`: the user's own end-of-text marker. `plain`: no markup, in which
    a line or a paragraph would hardly be a document.
    """
    taken = guess(text, marker, plain) if boundary == "auto" else boundary
    if taken == "marker":
        parts = _at_markers(text, marker)
    elif taken == "line":
        parts = text.split("\n")
    elif taken == "blank_line":
        parts = _BLANK.split(text)
    elif taken == "heading":
        parts = _at_headings(text, _HEADINGS)
    else:
        parts = [text]
    return taken, [part for part in parts if part.strip()]


def guess(text: str, marker: str = "", plain: bool = True) -> str:
    """The boundary that a text shows: markers; else top headings; else lines or paragraphs, where neighbouring ones
    have no more to do with each other than distant ones; else the file is one document."""
    if len(_at_markers(text, marker)) > 1:
        return "marker"
    if len(_at_headings(text, _HEADINGS[:2], level=1)) > 2:
        return "heading"
    if not plain:
        return "file"
    if is_lines(text):
        lines = [line for line in text.split("\n") if line.strip()]
        tiny = sum(count_text_words(line) < _TINY for line in lines)
        return "line" if tiny < _TINY_LINES * len(lines) and relatedness(lines) < _RELATED_LINES else "file"
    paragraphs = [part for part in _BLANK.split(text) if part.strip()]
    apart = len(paragraphs) >= _MANY and _TELLS < relatedness(paragraphs) < _RELATED_PARAGRAPHS
    return "blank_line" if apart else "file"


def without_markers(text: str) -> list[str]:
    """A text cut at end-of-text markers, which go."""
    return [part for part in _at_markers(text, "") if part.strip()] or [""]


def relatedness(units: Sequence[str]) -> float:
    """How many words neighbours in a row of texts share, in units of what distant ones do: about 1 for texts that have
    nothing to do with each other. Words that only one text has, or more than 5 % of them, do not count."""
    words = [set(units_of(unit[:_MOST])) for unit in units[:_MOST]]
    found = Counter(word for one in words for word in one)
    most = max(2, _COMMON * len(words))
    words = [{word for word in one if 1 < found[word] <= most} for one in words]
    quarter, step = len(words) // 4, max(1, len(words) // 24)
    far = _shared(words, range(quarter, quarter + 12 * step, step))
    return _shared(words, (1, 2)) / (far + 1e-3)


def _shared(words: Sequence[set[str]], offsets: Sequence[int]) -> float:
    """Mean share of the words of the smaller of two units, `offset` apart, that the other has too."""
    total, count = 0.0, 0
    for offset in offsets:
        for one, other in zip(words, words[offset:], strict=False):
            count += 1
            if one and other:
                total += len(one & other) / min(len(one), len(other))
    return total / max(1, count)


def _at_markers(text: str, marker: str) -> list[str]:
    if marker:
        return text.split(marker)
    if not _HINT_OF_MARKER.search(text):
        return [text]
    if "\f" in text and _are_ends(text):
        text = text.replace("\f", "<|endoftext|>")
    if "</s>" in text or "<s>" in text:
        text = _END.sub(r"\1<|endoftext|>", _BEGIN.sub("<|endoftext|>", text))
    return _MARKER.split(text)


def _are_ends(text: str) -> bool:
    """Whether form feeds end documents: what is before them ends as sentences do. Else they are the breaks of pages."""
    before = [part.rstrip() for part in text.split("\f")[:-1]]
    return sum(part.endswith(ENDS) for part in before) >= 0.9 * len(before)


def _at_headings(text: str, kinds: Sequence[re.Pattern[str]], level: int | None = None) -> list[str]:
    """Sections of the highest level of heading (or only of level `level`); what is before the first is one too."""
    lines = text.split("\n")
    levels: dict[int, int] = {}  # line -> level
    fenced = False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (match := next((found for kind in kinds if (found := kind.match(line))), None)):
            levels[number] = len(match[1])
    top = min(levels.values(), default=0) if level is None else level
    starts = [0, *(number for number, found in levels.items() if found == top), len(lines)]
    return ["\n".join(lines[begin:end]) for begin, end in pairwise(starts)]
