"""Reduction to prose: named rules take away what is not a sentence; what stays reads as text.

A text is first cut into paragraphs; code, tables, parameter lists and the like fall away there, by their layout
(`layout.py`). Then each paragraph is freed of inline markup, joined into one line and cut into sentences, and
each sentence is judged by itself. Every piece that falls is counted under the rule that took it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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
_CAPITALS_ASCII = string.ascii_uppercase.encode()
_LETTERS_ASCII = string.ascii_letters.encode()
_UNREADABLE_ASCII = bytes(code for code in range(128) if _UNREADABLE.match(chr(code)))
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
    coded = text.encode("utf-8", "replace")
    letters = _count_bytes(coded, _LETTERS_ASCII)
    return letters >= _FEWEST_LETTERS and _count_bytes(coded, _CAPITALS_ASCII) < _CAPITALS * letters


def _count_bytes(text: bytes, which: bytes) -> int:
    return len(text) - len(text.translate(None, which))


def _keep_sentences(paragraph: str, prose: Prose, without: frozenset[str]) -> str:
    plain = strip_markup(paragraph)
    if is_other_script(plain):  # the rules are for English
        return plain
    words = plain.split()
    if len(words) >= 6:
        fewest = 0.12 * len(words)
        rule = "list" if plain.count(",") > 0.4 * len(words) else "not_english"
        third = len(words) // 3  # has enough of them in most English
        common = sum(map(_common_words.__getitem__, words[:third]))
        if (
            common < fewest
            and common + sum(map(_common_words.__getitem__, words[third:])) < fewest
            and rule not in without
        ):
            prose.remove(rule, paragraph)
            return ""
    kept = []
    for sentence in split_sentences(plain):
        if rule := next((rule for rule in _faults(sentence) if rule not in without), ""):
            prose.remove(rule, sentence)
        else:
            kept.append(sentence)
    if kept and all(len(sentence.split()) < 3 for sentence in kept) and "short" not in without:
        # A short sentence may stand among others ("Fah!"), not alone ("Deprecated.").
        prose.remove("short", " ".join(kept))
        return ""
    return " ".join(kept)


class _Remembered(dict[str, int]):
    """A number of each word, remembered: looked up without a call, which a word of prose mostly is."""

    def __init__(self, of_word: Callable[[str], int]) -> None:
        self._of_word = of_word

    def __missing__(self, word: str) -> int:
        if len(self) >= _WORDS_KEPT:
            self.clear()
        found = self[word] = self._of_word(word)
        return found


# Common words of English in a piece of text without white space.
_common_words = _Remembered(lambda word: sum(part in COMMON for part in _LATIN.findall(word.lower())))
_symbolic = _Remembered(lambda word: _SYMBOL.search(word.rstrip(".,;:!?)")) is not None)


def _faults(sentence: str) -> Iterator[str]:
    """The rules that a sentence breaks, in the order in which they are looked at."""
    words = sentence.split()
    if ("://" in sentence or "www." in sentence) and _URL.search(sentence):
        yield "url"
    if sentence.endswith((":", "follows.", "following.", "below.")) and _ANNOUNCED.search(sentence):
        yield "introduction"
    if not END.search(sentence):
        yield "unfinished"
    first = sentence.lstrip("\"'“‘([«—-– ")
    if first[:1].islower():
        yield "fragment"
    if not first[:1].isalnum():
        yield "symbols"
    symbols = sum(map(_symbolic.__getitem__, words))
    if sentence.isascii():
        unreadable = _count_bytes(sentence.encode(), _UNREADABLE_ASCII)
    else:
        unreadable = len(_UNREADABLE.findall(sentence))
    readable = len(sentence) - unreadable
    if symbols > 0.2 * len(words) or readable < 0.8 * len(sentence) or _LATEX.search(sentence):
        yield "symbols"
    if len(words) > 4 and sentence.count(",") > 0.6 * len(words):
        yield "list"
