"""Reduction to prose: named rules take away what is not a sentence; what stays reads as text.

A text is first cut into paragraphs; code, tables, parameter lists and the like fall away there, by their
layout. Then each paragraph is freed of inline markup, joined into one line and cut into sentences, and each
sentence is judged by itself. Every piece that falls is counted under the rule that took it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tutelage.corpus.sentences import split_sentences, word_set

RULES = {
    "code": "fenced, literal and interactive code",
    "parameters": "sections and fields that list parameters, results, errors or attributes",
    "references": "references, see-also lists, authors",
    "directive": "directives and comments of reStructuredText",
    "table": "tables and grids",
    "heading": "headings and rules",
    "term": "terms that a definition follows",
    "url": "lines that are little but an address",
    "introduction": "sentences that announce what was taken away (colon, as follows, shown below)",
    "unfinished": "lines that do not end as a sentence ends",
    "fragment": "sentences that begin in lower case",
    "short": "sentences of fewer than three words that stand alone",
    "symbols": "sentences full of symbols, identifiers or numbers",
    "list": "lists of names",
    "not_english": "paragraphs with few of the common words of English",
}

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

_URL = re.compile(r"<?(?:https?|ftp)://\S+|www\.\S+")
_LATEX = re.compile(r"\\[a-zA-Z]{2,}|\$[^$]+\$")
_ANNOUNCED = re.compile(r"(?::|\b(?:as follows|the following|(?:shown|given|described|listed|see|examples?) below)\.)$")
_END = re.compile(r"""[.!?…]["'”’)\]»]*$""")
_SYMBOL = re.compile(r"""[_=<>{}\\|@#$^~\[\]&*`%]|\w\(|\)\w|//|::|\w/\w|->|\w\.\w+\.|[a-z][A-Z]|\.\w+$|^\W*\d""")
_LATIN = re.compile("[a-z]+")
_COMMON = word_set("""
    the be to of and a in that have it for not on with he as you do at this but his by from they we say
    her she or an will my one all would there their what so up out if about who get which go me when make
    can like no just him know take into your some them than then its over also use how our these any is
    are was were has had been don didn doesn isn wasn won couldn wouldn m ll ve re d s t may must should
    each other only such using used given whether between because does where while
""")


@dataclass(slots=True)
class Prose:
    """The prose of a text; per rule how many pieces and UTF-8 bytes went, and the first piece."""

    text: str
    pieces: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def remove(self, rule: str, text: str) -> None:
        self.examples.setdefault(rule, text[:200])
        self.pieces[rule] += 1
        self.bytes[rule] += len(text.encode("utf-8"))


def reduce_to_prose(text: str) -> Prose:
    """Keep the sentences of a text, one paragraph a line, paragraphs a blank line apart."""
    prose = Prose("")
    paragraphs = [_keep_sentences(paragraph, prose) for paragraph in _paragraphs(text, prose)]
    prose.text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return prose


def first_sentence(text: str) -> str | None:
    """The first sentence of a docstring (its first paragraph, if that does not end as one) as one line.

    None where the docstring opens with something else: a signature, code, a lone word.
    """
    lines = text.lstrip().split("\n\n", 1)[0].split("\n")
    end = next((i for i in range(1, len(lines)) if _breaks_off(lines[i - 1], lines[i])), len(lines))
    head = strip_markup(" ".join(lines[:end]))
    if not head or head.startswith((">>>", ".. ", ":", "@", "-", "=", "#")):
        return None
    sentence = split_sentences(head)[0]
    if len(sentence.split()) < 3 or len(sentence) > 300 or "->" in sentence or "://" in sentence:
        return None
    return sentence


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


def _breaks_off(line: str, following: str) -> bool:
    """Whether a line ended by intent: no sentence end, yet the next word would have fitted on it."""
    words = following.split()
    if not words or not words[0][0].isupper() or line.rstrip().endswith((".", "!", "?", ",", ";", ":", "-")):
        return False
    return len(line.rstrip()) + 1 + len(words[0]) < 60


def _paragraphs(text: str, prose: Prose) -> list[str]:
    """Cut a text into paragraphs of one line each, leaving out what its layout shows to be no prose."""
    lines = text.split("\n")
    found: list[str] = []
    current: list[str] = []
    indent = 0  # of the first line of the current paragraph
    index = 0

    def flush() -> None:
        if current:
            found.append(" ".join(current))
            current.clear()

    def skip(rule: str, begin: int, end: int) -> int:
        flush()
        if removed := "\n".join(lines[begin:end]).strip():
            prose.remove(rule, removed)
        return end

    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            flush()
            index += 1
        elif fence := _FENCE.match(line):
            index = skip("code", index, _closing(lines, index + 1, fence[1]))
        elif _DOCTEST.match(line):
            index = skip("code", index, _until_blank(lines, index))
        elif _TABLE.match(line):
            index = skip("table", index, _until_blank(lines, index))
        elif _UNDERLINE.match(line) or _HEADING.match(line):
            index = skip("heading", index, index + 1)
        elif not current and _UNDERLINE.match(following) and len(following.strip()) + 3 >= len(line.strip()):
            rule = _section_rule(line)
            end = _next_heading(lines, index + 2, depth) if rule else index + 2
            index = skip(rule or "heading", index, end)
        elif (directive := _DIRECTIVE.match(line)) and line.strip() != "...":
            if directive[1] in _NOTES:
                flush()
                if directive[2]:
                    current.append(directive[2])
                    indent = depth + 3
                index += 1
            else:
                index = skip("directive", index, _deeper(lines, index + 1, depth))
        elif _FIELD.match(line):
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
            if item or (current and (depth < indent or _breaks_off(lines[index - 1], line))):
                flush()
            elif len(current) == 1 and depth >= indent + 2 and _is_term(current[0]):
                prose.remove("term", current.pop())  # a definition list: the term goes, its text stays
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
    return not _END.search(line) and len(line.split()) <= 8


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


def _keep_sentences(paragraph: str, prose: Prose) -> str:
    plain = strip_markup(paragraph)
    words = plain.split()
    if len(words) >= 6:
        common = sum(word in _COMMON for word in _LATIN.findall(plain.lower()))
        if common < 0.12 * len(words):
            prose.remove("list" if plain.count(",") > 0.4 * len(words) else "not_english", paragraph)
            return ""
    kept = []
    for sentence in split_sentences(plain):
        if rule := _fault(sentence):
            prose.remove(rule, sentence)
        else:
            kept.append(sentence)
    if kept and max(len(sentence.split()) for sentence in kept) < 3:
        # A short sentence may stand among others ("Fah!"), not alone ("Deprecated.").
        prose.remove("short", " ".join(kept))
        return ""
    return " ".join(kept)


def _fault(sentence: str) -> str | None:
    """The rule that a sentence breaks, or None."""
    words = sentence.split()
    if _URL.search(sentence):
        return "url"
    if _ANNOUNCED.search(sentence):
        return "introduction"
    if not _END.search(sentence):
        return "unfinished"
    first = sentence.lstrip("\"'“‘([«—-– ")
    if first[:1].islower():
        return "fragment"
    if not first[:1].isalnum():
        return "symbols"
    symbols = sum(_SYMBOL.search(word.rstrip(".,;:!?)")) is not None for word in words)
    readable = sum(char.isalpha() or char in " \"'“”‘’" for char in sentence)
    if symbols > 0.2 * len(words) or readable < 0.8 * len(sentence) or _LATEX.search(sentence):
        return "symbols"
    if len(words) > 4 and sentence.count(",") > 0.6 * len(words):
        return "list"
    return None
