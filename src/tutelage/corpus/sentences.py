"""Sentences and words of English text, by rule."""

from __future__ import annotations

import re


def word_set(listed: str) -> frozenset[str]:
    """A set of words written out in one string."""
    return frozenset(listed.split())


_BOUNDARY = re.compile(r"""[.!?]+["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9_])""")
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_ABBREVIATIONS = word_set("""
    e.g i.e cf w.r.t a.k.a i.i.d vs etc al fig figs eq eqs no nos vol pp sec ch ed eds approx resp mr mrs
    ms dr prof st jr sr inc ltd co dept ref refs ver incl sgt capt col gen rev hon messrs mme viz
""")
_INITIAL = re.compile(r"(?:[A-Z]\.)*[A-Z]")
_ENDING = re.compile(r"""[.!?]+["'”’)\]]*$""")
_BEGINNING = re.compile(r"""["'“‘(\[]*[A-Z0-9_]""")


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph (one line). A full stop after an abbreviation or an initial ends none."""
    sentences, begin = [], 0
    for boundary in _BOUNDARY.finditer(text):
        if text[boundary.start()] == "." and _is_abbreviation(text[begin : boundary.start()]):
            continue
        sentences.append(text[begin : boundary.end()].strip())
        begin = boundary.end()
    if rest := text[begin:].strip():
        sentences.append(rest)
    return sentences


def ends_sentence(chunk: str) -> bool:
    """Whether a chunk of text without white space ends a sentence, if one can begin behind it: as `split_sentences`."""
    end = _ENDING.search(chunk)
    return end is not None and not (chunk[end.start()] == "." and _is_abbreviation(chunk[: end.start()]))


def begins_sentence(chunk: str) -> bool:
    """Whether a sentence can begin with a chunk of text."""
    return _BEGINNING.match(chunk) is not None


def _is_abbreviation(before: str) -> bool:
    word = before.rsplit(" ", 1)[-1].lstrip("(\"'“‘[")
    # "No." and "I." end sentences more often than they abbreviate, when nothing else is before them.
    return word.lower() in _ABBREVIATIONS or (_INITIAL.fullmatch(word) is not None and word != "I")


def words_of(text: str) -> list[str]:
    """Lower-cased words: runs of letters and digits, with inner apostrophes, dots and hyphens."""
    return _WORD.findall(text.lower())
