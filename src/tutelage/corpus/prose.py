"""Reduction to prose: named rules take away what is not a sentence; what stays reads as text.

A text is first cut into paragraphs; code, tables, parameter lists and the like fall away there, by their
layout. Then each paragraph is freed of inline markup, joined into one line and cut into sentences, and each
sentence is judged by itself. Every piece that falls is counted under the rule that took it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from tutelage.corpus.markup import strip_markup
from tutelage.corpus.scripts import COMMON, is_other_script
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

_URL = re.compile(r"<?(?:https?|ftp)://\S+|www\.\S+")
_LATEX = re.compile(r"\\[a-zA-Z]{2,}|\$[^$]+\$")
_ANNOUNCED = re.compile(r"(?::|\b(?:as follows|the following|(?:shown|given|described|listed|see|examples?) below)\.)$")
_END = re.compile(r"""[.!?…]["'”’)\]»]*$""")
_SYMBOL = re.compile(r"""[_=<>{}\\|@#$^~\[\]&*`%]|\w\(|\)\w|//|::|\w/\w|->|\w\.\w+\.|[a-z][A-Z]|\.\w+$|^\W*\d""")
_UNREADABLE = re.compile(r"""[^\w "'“”‘’]|[\d_¹²³¼½¾]""")  # all but letters, spaces and quotes
_LATIN = re.compile("[a-z]+")
_LETTER, _CAPITAL = re.compile("[a-zA-Z]"), re.compile("[A-Z]")
_CAPITALS = 0.002  # of the letters; sentences alone give one in a hundred
_FEWEST_LETTERS = 100
_WIDTH = 60  # columns: prose is wrapped at more, unless the text itself shows less
_WORDS_KEPT = 1 << 16  # different words whose kind is remembered
_FEWEST_WRAPPED, _FULL_LINES = 5, 0.9  # lines that show it, and how many of them are full


@dataclass(slots=True)
class Prose:
    """The prose of a text; per rule how many pieces and UTF-8 bytes went, and the first piece.

    `foreign`: the text is in another language than English and was left as it is.
    """

    text: str
    foreign: bool = False
    pieces: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def remove(self, rule: str, text: str) -> None:
        self.examples.setdefault(rule, text[:200])
        self.pieces[rule] += 1
        self.bytes[rule] += len(text.encode("utf-8"))


def reduce_to_prose(text: str, without: frozenset[str] = frozenset()) -> Prose:
    """Keep the sentences of an English text, one paragraph a line, paragraphs a blank line apart.

    `without`: rules that are not applied; what the layout rules among them would take stays as it stands.
    """
    prose = Prose("")
    if _is_lower_cased(text):  # then a small letter says nothing of a sentence
        without |= {"fragment"}
    paragraphs = [
        paragraph if verbatim else _keep_sentences(paragraph, prose, without)
        for paragraph, verbatim in _paragraphs(text, prose, without)
    ]
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


def _is_lower_cased(text: str) -> bool:
    letters = len(_LETTER.findall(text))
    return letters >= _FEWEST_LETTERS and len(_CAPITAL.findall(text)) < _CAPITALS * letters


def _breaks_off(line: str, following: str, width: int = _WIDTH) -> bool:
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


def _paragraphs(text: str, prose: Prose, without: frozenset[str]) -> list[tuple[str, bool]]:
    """Cut a text into paragraphs of one line each, leaving out what its layout shows to be no prose.

    True with those that stay as they stand, because the rule that would take them is not applied.
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
                prose.remove(rule, removed.lstrip())
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
            if item or (current and (depth < indent or _breaks_off(lines[index - 1], line, width))):
                flush()
            elif len(current) == 1 and depth >= indent + 2 and _is_term(current[0]) and "term" not in without:
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


def _keep_sentences(paragraph: str, prose: Prose, without: frozenset[str]) -> str:
    plain = strip_markup(paragraph)
    if is_other_script(plain):  # the rules are for English
        return plain
    words = plain.split()
    if len(words) >= 6:
        common = sum(map(_common_words, words))
        rule = "list" if plain.count(",") > 0.4 * len(words) else "not_english"
        if common < 0.12 * len(words) and rule not in without:
            prose.remove(rule, paragraph)
            return ""
    kept = []
    for sentence in split_sentences(plain):
        if rule := next((rule for rule in _faults(sentence) if rule not in without), ""):
            prose.remove(rule, sentence)
        else:
            kept.append(sentence)
    if kept and max(len(sentence.split()) for sentence in kept) < 3 and "short" not in without:
        # A short sentence may stand among others ("Fah!"), not alone ("Deprecated.").
        prose.remove("short", " ".join(kept))
        return ""
    return " ".join(kept)


@lru_cache(maxsize=_WORDS_KEPT)
def _common_words(word: str) -> int:
    """Common words of English in a piece of text without white space."""
    return sum(part in COMMON for part in _LATIN.findall(word.lower()))


@lru_cache(maxsize=_WORDS_KEPT)
def _is_symbolic(word: str) -> bool:
    return _SYMBOL.search(word.rstrip(".,;:!?)")) is not None


def _faults(sentence: str) -> Iterator[str]:
    """The rules that a sentence breaks, in the order in which they are looked at."""
    words = sentence.split()
    if _URL.search(sentence):
        yield "url"
    if _ANNOUNCED.search(sentence):
        yield "introduction"
    if not _END.search(sentence):
        yield "unfinished"
    first = sentence.lstrip("\"'“‘([«—-– ")
    if first[:1].islower():
        yield "fragment"
    if not first[:1].isalnum():
        yield "symbols"
    symbols = sum(map(_is_symbolic, words))
    readable = len(sentence) - len(_UNREADABLE.findall(sentence))
    if symbols > 0.2 * len(words) or readable < 0.8 * len(sentence) or _LATEX.search(sentence):
        yield "symbols"
    if len(words) > 4 and sentence.count(",") > 0.6 * len(words):
        yield "list"
