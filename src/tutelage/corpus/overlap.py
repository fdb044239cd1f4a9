"""How much of some documents stands in others: by 8-grams of words and signs, and by whole sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tutelage.corpus.dedup import I64, chunks, grams, hash_words
from tutelage.corpus.document import Document
from tutelage.corpus.scripts import words_and_signs
from tutelage.corpus.sentences import split_sentences

_GRAM = 8
_BATCH = 500  # documents looked at together
# A gram or sentence that so many texts have (and so large a share of them) is a phrase of the kind, not a copy ...
_COMMON_TEXTS, _COMMON_SHARE = 5, 0.02
# ... unless little else is there.
_OWN_SHARE = 0.3
_SHIFT = 1 << 31


def overlaps(documents: Sequence[Document], others: Sequence[Document], own: bool = False) -> list[float]:
    """For each document the share of it that stands in other texts, 0 to 1.

    The larger of: share of its word 8-grams that occur there, share of its words in sentences that occur there whole.
    The pieces of one text count as one text. What at least five other texts, and 2 % of them, have in common is not
    counted, unless it is more than 70 % of the document. `own`: the documents are among the others; their own text
    does not count. Only `documents` are held in memory; the others are gone through in batches.
    """
    hashes = hash_words((document.text for document in documents), words_and_signs)
    values, owners = grams(hashes, _GRAM)
    wanted, places = np.unique(values, return_inverse=True)
    sentences: dict[str, int] = {}
    counted = [
        [(sentences.setdefault(key, len(sentences)), words) for key, words in _sentences(document.text)]
        for document in documents
    ]
    gram_texts, sentence_texts = _Texts(len(wanted)), _Texts(len(sentences))
    number, groups = -1, 0
    last = None
    for batch in _batches(others):
        numbers = np.empty(len(batch), np.int64)
        for index, document in enumerate(batch):
            if document.group != last:
                number, last = number + 1, document.group
            numbers[index] = number
        met = [
            (sentences[key], numbers[index])
            for index, document in enumerate(batch)
            for key, _ in _sentences(document.text)
            if key in sentences
        ]
        if met:
            sentence_texts.meet(*np.array(met, np.int64).T)
        hashed = hash_words((document.text for document in batch), words_and_signs)
        for begin, end in chunks(hashed):
            found, texts = grams(hashed, _GRAM, begin, end)
            at = np.searchsorted(wanted, found)
            at[at == len(wanted)] = 0
            here = wanted[at] == found if len(wanted) else np.zeros(0, bool)
            gram_texts.meet(at[here], numbers[texts[here]])
        groups = number + 1
    limit = max(_COMMON_TEXTS, math.ceil(_COMMON_SHARE * groups))
    gram_counts, sentence_counts = gram_texts.counts - own, sentence_texts.counts - own
    totals = np.maximum(np.bincount(owners, minlength=len(documents)), 1)
    copied = np.bincount(owners[gram_counts[places] > 0], minlength=len(documents)) / totals
    common = np.bincount(owners[gram_counts[places] >= limit], minlength=len(documents)) / totals
    shares = []
    for index, one in enumerate(counted):
        words = max(1, sum(count for _, count in one))
        whole = sum(count for key, count in one if sentence_counts[key] > 0) / words
        usual = sum(count for key, count in one if sentence_counts[key] >= limit) / words
        by_gram, by_sentence = float(copied[index]), whole
        if max(usual, float(common[index])) <= 1 - _OWN_SHARE:
            by_gram, by_sentence = by_gram - float(common[index]), whole - usual
        shares.append(max(by_gram, by_sentence, 0.0))
    return shares


class _Texts:
    """In how many texts each of some things occurs; texts are met in the order of their numbers."""

    def __init__(self, things: int) -> None:
        self.counts = np.zeros(things, np.int64)
        self._last = np.full(things, -1, np.int64)

    def meet(self, things: I64, texts: I64) -> None:
        """Thing `things[i]` occurs in text `texts[i]`."""
        if not len(things):
            return
        thing, text = np.divmod(np.unique(things * _SHIFT + texts), _SHIFT)
        again = text == self._last[thing]
        np.add.at(self.counts, thing[~again], 1)
        self._last[thing] = text  # sorted by text within each thing: the last one stays


def _batches(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for begin in range(0, len(documents), _BATCH):
        yield documents[begin : begin + _BATCH]


def _sentences(text: str) -> list[tuple[str, int]]:
    """(sentence as its words, number of words) of a text."""
    counted = []
    for paragraph in text.split("\n"):
        for sentence in split_sentences(paragraph):
            words = words_and_signs(sentence)
            counted.append((" ".join(words), len(words)))
    return counted
