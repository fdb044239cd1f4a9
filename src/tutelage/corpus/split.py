"""The split into train and held-out, and the search for held-out text that stands in training text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tutelage.corpus.dedup import chunks, grams, hash_words
from tutelage.corpus.document import Document
from tutelage.corpus.sentences import split_sentences, words_of
from tutelage.store.hashing import sha256_text

_GRAM = 8
_BATCH = 500  # training documents looked at together
_TRIED = 64  # documents tried, in the order of the split, for a held-out side that would be empty


def rank(document: Document, seed: int) -> float:
    """Place of a document in the split, 0 to 1: a hash of the data seed and its id, whatever the others are."""
    return int(sha256_text(f"{seed}:{document.id}")[:16], 16) / 2**64


def split(documents: list[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """(train, held-out): each document goes by its rank; the order is kept.

    At least one document is held out where there are two or more, and at least one is trained on.
    """
    ranks = [rank(document, seed) for document in documents]
    chosen = {index for index, one in enumerate(ranks) if one < share}
    if not chosen and len(documents) > 1:
        chosen = {ranks.index(min(ranks))}
    if chosen and len(chosen) == len(documents):
        chosen.remove(ranks.index(max(ranks)))
    train = [document for index, document in enumerate(documents) if index not in chosen]
    return train, [documents[index] for index in sorted(chosen)]


def hold_one_out(train: list[Document], seed: int, max_overlap: float) -> tuple[int, float]:
    """(index of the training document to hold out, share of it that stands in the others).

    For a split whose held-out side was lost to leaks: the first document by rank that shares little enough, or, of
    the first 64, the one that shares least. Needs two documents.
    """
    order = sorted(range(len(train)), key=lambda index: rank(train[index], seed))
    best = (order[0], 2.0)
    for index in order[:_TRIED]:
        (share,) = leaked(train[:index] + train[index + 1 :], [train[index]])
        if share <= max_overlap:
            return index, share
        if share < best[1]:
            best = (index, share)
    return best


def leaked(train: Sequence[Document], heldout: Sequence[Document]) -> list[float]:
    """For each held-out document the share of it that stands in training documents, 0 to 1.

    The larger of: share of its word 8-grams that occur there, share of its words in sentences that occur
    there whole. Only the held-out side is held in memory; the training side is gone through in batches.
    """
    hashes = hash_words(document.text for document in heldout)
    values, owners = grams(hashes, _GRAM)
    wanted = np.unique(values)
    seen = np.zeros(len(wanted), bool)
    counted = [_sentences(document.text) for document in heldout]
    sentences = {sentence for one in counted for sentence, _ in one}
    met: set[str] = set()
    for batch in _batches(train):
        met.update(sentence for text in batch for sentence, _ in _sentences(text) if sentence in sentences)
        hashed = hash_words(batch)
        for begin, end in chunks(hashed):
            seen |= np.isin(wanted, grams(hashed, _GRAM, begin, end)[0])
    totals = np.bincount(owners, minlength=len(heldout))
    found = np.bincount(owners[seen[np.searchsorted(wanted, values)]], minlength=len(heldout))
    shares = []
    for one, by_gram in zip(counted, found / np.maximum(totals, 1), strict=True):
        words = sum(count for _, count in one)
        copied = sum(count for sentence, count in one if sentence in met)
        shares.append(max(float(by_gram), copied / max(words, 1)))
    return shares


def _batches(documents: Sequence[Document]) -> Iterator[list[str]]:
    for begin in range(0, len(documents), _BATCH):
        yield [document.text for document in documents[begin : begin + _BATCH]]


def _sentences(text: str) -> list[tuple[str, int]]:
    """(sentence as its words, number of words) of a text."""
    counted = []
    for paragraph in text.split("\n"):
        for sentence in split_sentences(paragraph):
            words = words_of(sentence)
            counted.append((" ".join(words), len(words)))
    return counted
