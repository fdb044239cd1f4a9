"""Reduction to prose: named rules take away what is not a sentence; what stays reads as text.

A text is first cut into paragraphs; code, tables, parameter lists and the like fall away there, by their layout
(`layout.py`). Then each paragraph is freed of inline markup, joined into one line and cut into sentences, and
each sentence is judged by itself. Every piece that falls is counted under the rule that took it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from tutelage.corpus.layout import END, breaks_off, paragraphs
from tutelage.corpus.markup import strip_markup
from tutelage.corpus.scripts import COMMON, is_other_script
from tutelage.corpus.sentences import split_sentences

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

_URL = re.compile(r"<?(?:https?|ftp)://\S+|www\.\S+")
_LATEX = re.compile(r"\\[a-zA-Z]{2,}|\$[^$]+\$")
_ANNOUNCED = re.compile(r"(?::|\b(?:as follows|the following|(?:shown|given|described|listed|see|examples?) below)\.)$")
_SYMBOL = re.compile(r"""[_=<>{}\\|@#$^~\[\]&*`%]|\w\(|\)\w|//|::|\w/\w|->|\w\.\w+\.|[a-z][A-Z]|\.\w+$|^\W*\d""")
_UNREADABLE = re.compile(r"""[^\w "'“”‘’]|[\d_¹²³¼½¾]""")  # all but letters, spaces and quotes
_LATIN = re.compile("[a-z]+")
_LETTER, _CAPITAL = re.compile("[a-zA-Z]"), re.compile("[A-Z]")
_CAPITALS = 0.002  # of the letters; sentences alone give one in a hundred
_FEWEST_LETTERS = 100
_WORDS_KEPT = 1 << 16  # different words whose kind is remembered


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
    kept = [
        paragraph if verbatim else _keep_sentences(paragraph, prose, without)
        for paragraph, verbatim in paragraphs(text, without, prose.remove)
    ]
    prose.text = "\n\n".join(paragraph for paragraph in kept if paragraph)
    return prose


def first_sentence(text: str) -> str | None:
    """The first sentence of a docstring (its first paragraph, if that does not end as one) as one line.

    None where the docstring opens with something else: a signature, code, a lone word.
    """
    lines = text.lstrip().split("\n\n", 1)[0].split("\n")
    end = next((i for i in range(1, len(lines)) if breaks_off(lines[i - 1], lines[i])), len(lines))
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
    if not END.search(sentence):
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
