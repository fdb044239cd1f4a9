"""The layout of an English text: its paragraphs, without what the layout alone shows to be no prose (code, tables,
parameter lists, headings and the like)."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from tutelage.corpus.sentences import word_set

_PARAMETERS = word_set("""
    parameters parameter params args arguments returns return yields yield receives raises raise except
    exceptions warns attributes methods properties keyword_args keyword_arguments other_parameters keys
    inputs input outputs output shape shapes options variables types class_attributes instance_attributes
    public_methods fields supported_types usage signature call_signature
""")
_REFERENCES = word_set("""
    references reference see_also bibliography authors author copyright license todo changelog history
    citation links further_reading credits
""")
_NOTES = word_set("""
    note notes warning warnings tip important caution hint attention admonition
""")

_FENCE = re.compile(r"\s*(```|~~~)")
_DOCTEST = re.compile(r"\s*(>>>|In \[\d+\]:|\$ |% )")
_UNDERLINE = re.compile(r"\s*([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_SECTION = re.compile(r"\s*\**([A-Z][A-Za-z ]{2,24}?)\**\s*(?<!:):(?!:)\s*\**(\S.*)?$")
_FIELD = re.compile(r"\s*(:[\w][\w .,*\\|\[\]-]*:(\s|$)|@\w+)")
_DIRECTIVE = re.compile(r"\s*\.\.\s+(?:([\w:-]+?)::\s*(.*))?")
_TABLE = re.compile(r"\s*(\+[-=+]{3,}|\|.*\||[=-]{2,}(\s+[=-]{2,})+)\s*$")
_HEADING = re.compile(r"#{1,6}\s")
_ITEM = re.compile(r"\s*([-*+•◦‣]|\(?(\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s+(?=\S)")
END = re.compile(r"""[.!?…]["'”’)\]»]*$""")
_WIDTH = 60  # columns: prose is wrapped at more, unless the text itself shows less
_FEWEST_WRAPPED, _FULL_LINES = 5, 0.9  # lines that show it, and how many of them are full


def paragraphs(text: str, without: frozenset[str], remove: Callable[[str, str], None]) -> list[tuple[str, bool]]:
    """Cut a text into paragraphs of one line each, leaving out what its layout shows to be no prose: `remove` takes the
    rule and the piece of each (the rules are those of `prose.RULES`).

    True with those that stay as they stand, because the rule that would take them is in `without`.
    """
    lines = text.split("\n")
    width = _wrapped_at(lines)
    found: list[tuple[str, bool]] = []
    current: list[str] = []
    indent = 0  # of the first line of the current paragraph
    index = 0

    def flush() -> None:
        if current:
            found.append((" ".join(current), False))
            current.clear()

    def skip(rule: str, begin: int, end: int) -> int:
        flush()
        if removed := "\n".join(lines[begin:end]).strip("\n").rstrip():
            if rule in without:
                found.append((removed, True))
            else:
                remove(rule, removed.lstrip())
        return end

    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        bare = line.lstrip()
        depth = len(line) - len(bare)
        begins = bare[:1].isalnum() and not bare.startswith("In [")  # then nothing but its words tells what it is
        if not bare:
            flush()
            index += 1
        elif not begins and (fence := _FENCE.match(line)):
            index = skip("code", index, _closing(lines, index + 1, fence[1]))
        elif not begins and _DOCTEST.match(line):
            index = skip("code", index, _until_blank(lines, index))
        elif not begins and _TABLE.match(line):
            index = skip("table", index, _until_blank(lines, index))
        elif not begins and (_UNDERLINE.match(line) or _HEADING.match(line)):
            index = skip("heading", index, index + 1)
        elif not current and _UNDERLINE.match(following) and len(following.strip()) + 3 >= len(line.strip()):
            rule = _section_rule(line)
            end = _next_heading(lines, index + 2, depth) if rule else index + 2
            index = skip(rule or "heading", index, end)
        elif not begins and (directive := _DIRECTIVE.match(line)) and line.strip() != "...":
            if directive[1] in _NOTES:
                flush()
                if directive[2]:
                    current.append(directive[2])
                    indent = depth + 3
                index += 1
            else:
                index = skip("directive", index, _deeper(lines, index + 1, depth))
        elif not begins and _FIELD.match(line):
            index = skip("parameters", index, _deeper(lines, index + 1, depth))
        elif (section := _SECTION.match(line)) and _known(section[1]):
            if section[1].lower() in _NOTES:
                flush()
                if section[2]:
                    current.append(section[2])
                    indent = depth
                index += 1
            else:
                rule = _section_rule(section[1]) or "parameters"
                index = skip(rule, index, _deeper(lines, index + 1, depth))
        else:
            item = _ITEM.match(line)
            if item or (current and (depth < indent or breaks_off(lines[index - 1], line, width))):
                flush()
            elif len(current) == 1 and depth >= indent + 2 and _is_term(current[0]) and "term" not in without:
                remove("term", current.pop())  # a definition list: the term goes, its text stays
            if not current:
                indent = item.end() if item else depth
            current.append(line[item.end() if item else 0 :].strip())
            index += 1
            if line.rstrip().endswith("::"):
                depth = min(depth, indent)
                while index < len(lines) and not lines[index].strip():
                    index += 1
                index = skip("code", index, _deeper(lines, index, depth))
    flush()
    return found


def _is_term(line: str) -> bool:
    return not END.search(line) and len(line.split()) <= 8


def _known(title: str) -> bool:
    key = title.strip().lower().replace(" ", "_")
    return key in _PARAMETERS or key in _REFERENCES or key in _NOTES or key in ("example", "examples")


def _section_rule(title: str) -> str | None:
    key = title.strip().strip("*:#").lower().replace(" ", "_")
    return "parameters" if key in _PARAMETERS else "references" if key in _REFERENCES else None


def _closing(lines: list[str], index: int, fence: str) -> int:
    while index < len(lines) and not lines[index].lstrip().startswith(fence):
        index += 1
    return index + 1


def _until_blank(lines: list[str], index: int) -> int:
    while index < len(lines) and lines[index].strip():
        index += 1
    return index


def _deeper(lines: list[str], index: int, depth: int) -> int:
    """End of the block that stands deeper than `depth`; blank lines inside it belong to it."""
    end = index
    while index < len(lines):
        line = lines[index]
        if line.strip():
            if len(line) - len(line.lstrip()) <= depth:
                break
            end = index + 1
        index += 1
    return end


def _next_heading(lines: list[str], index: int, depth: int) -> int:
    while index + 1 < len(lines):
        line = lines[index]
        if line.strip() and _UNDERLINE.match(lines[index + 1]) and len(line) - len(line.lstrip()) <= depth:
            return index
        index += 1
    return len(lines)


def breaks_off(line: str, following: str, width: int = _WIDTH) -> bool:
    """Whether a line ended by intent: no sentence end, yet the next word would have fitted on it."""
    words = following.split()
    if not words or not words[0][0].isupper() or line.rstrip().endswith((".", "!", "?", ",", ";", ":", "-")):
        return False
    return len(line.rstrip()) + 1 + len(words[0]) < width


def _wrapped_at(lines: list[str]) -> int:
    """Column at which a text is surely wrapped, at most 60: its longest line, where hardly a line would have had room
    for the next word; else how long the lines are that go on in lower case."""
    pairs = [(len(line.rstrip()), next_) for line, next_ in pairwise(lines) if line.strip() and next_.strip()]
    if len(pairs) < _FEWEST_WRAPPED:
        return _WIDTH
    longest = max(length for length, _ in pairs)
    full = sum(length + 1 + len(following.split(None, 1)[0]) > longest for length, following in pairs)
    if full >= _FULL_LINES * len(pairs):
        return min(_WIDTH, longest)
    lengths = sorted(length for length, following in pairs if following.lstrip()[:1].islower())
    return min(_WIDTH, lengths[len(lengths) * 4 // 5]) if len(lengths) >= _FEWEST_WRAPPED else _WIDTH
