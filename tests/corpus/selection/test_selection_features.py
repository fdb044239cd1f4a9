"""Hashed n-grams of texts: the same in whatever batches the texts come, and of documents on disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from planted_text import TOPICS, good

from tutelage.corpus import words
from tutelage.corpus.document import Document
from tutelage.corpus.selection import variety as variety_module
from tutelage.corpus.selection.features import counted, counts
from tutelage.corpus.selection.variety import variety, variety_of
from tutelage.corpus.shelf import Shelf


def shelf(texts: list[str]) -> Shelf:
    return Shelf.of([Document(f"{number:016x}", text, "file") for number, text in enumerate(texts)])


def test_every_word_and_every_pair_counts_once() -> None:
    found = counts(["rose rose spade", "", "anchor"], 1 << 12).toarray()
    assert found.sum(axis=1).tolist() == [5, 0, 1]
    assert sorted(found[0][found[0] > 0].tolist()) == [1, 1, 1, 2]
    assert counts([], 1 << 12).shape == (0, 1 << 12)


def test_batches_change_nothing_and_hold_a_few_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for topic in TOPICS for text in good(topic, 20, 1)]
    whole = counts(texts, 1 << 12)
    monkeypatch.setattr(words, "_BATCH_TEXTS", 7)
    taken = 0

    def each() -> Iterator[str]:
        nonlocal taken
        for text in texts:
            taken += 1
            yield text

    begun = 0
    for matrix in counted(each(), 1 << 12):
        begun += matrix.shape[0]
        assert taken == begun
    assert begun == 80
    assert np.array_equal(counts(iter(texts), 1 << 12).toarray(), whole.toarray())


def test_variety_of_documents_is_that_of_as_many_as_the_blocks_need(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for topic in TOPICS for text in good(topic, 60, 1)]
    documents = shelf(texts)
    assert list(documents.texts()) == texts
    assert variety_of(documents) == variety(texts)
    monkeypatch.setattr(variety_module, "BLOCKS", 1)
    monkeypatch.setattr(variety_module, "_MOST_CHARACTERS", 40)
    few = variety_of(documents)
    assert few["text_blocks"] == 1 and few["vendi"]["low"] is None
    assert few["word_blocks"] == 0  # a hundred texts of forty characters
