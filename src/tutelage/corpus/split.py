"""The split into train and held-out, and the search for held-out text that stands in training text."""

from __future__ import annotations

import numpy as np

from tutelage.corpus.dedup import grams, hash_words
from tutelage.corpus.document import Document
from tutelage.corpus.sentences import split_sentences, words_of
from tutelage.store.hashing import sha256_text

_GRAM = 8


def split(documents: list[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """(train, held-out): each document goes by a hash of seed and id, whatever the others are.

    At least one document is held out where there are two or more.
    """
    ranked = [(int(sha256_text(f"{seed}:{document.id}")[:16], 16) / 2**64, document) for document in documents]
    heldout = [document for rank, document in ranked if rank < share]
    if not heldout and len(documents) > 1:
        heldout = [min(ranked, key=lambda pair: pair[0])[1]]
    out = {document.id for document in heldout}
    return [document for document in documents if document.id not in out], heldout


def leaked(train: list[Document], heldout: list[Document]) -> list[float]:
    """For each held-out document the share of it that stands in training documents, 0 to 1.

    The larger of: share of its word 8-grams that occur there, share of its words in sentences that occur
    there whole.
    """
    seen, _ = grams(hash_words([document.text for document in train]), _GRAM)
    hashes = hash_words([document.text for document in heldout])
    values, owners = grams(hashes, _GRAM)
    totals = np.bincount(owners, minlength=len(heldout))
    found = np.bincount(owners[np.isin(values, np.unique(seen))], minlength=len(heldout))
    by_grams = found / np.maximum(totals, 1)
    sentences = {sentence for document in train for sentence, _ in _sentences(document.text)}
    shares = []
    for document, by_gram in zip(heldout, by_grams, strict=True):
        counted = _sentences(document.text)
        words = sum(count for _, count in counted)
        copied = sum(count for sentence, count in counted if sentence in sentences)
        shares.append(max(float(by_gram), copied / max(words, 1)))
    return shares


def _sentences(text: str) -> list[tuple[str, int]]:
    """(sentence as its words, number of words) of a text."""
    counted = []
    for paragraph in text.split("\n"):
        for sentence in split_sentences(paragraph):
            words = words_of(sentence)
            counted.append((" ".join(words), len(words)))
    return counted
