"""The tiny corpus that other rooms build on has what they need."""

from __future__ import annotations

from corpus_fixture import TinyCorpus
from corpus_fixture import tiny_corpus as tiny_corpus


def test_it_has_both_sides_labels_and_descriptions(tiny_corpus: TinyCorpus) -> None:
    assert len(tiny_corpus.train) > 100 and len(tiny_corpus.heldout) > 20
    for side in (tiny_corpus.train, tiny_corpus.heldout):
        assert {document.label for document in side} == {"files", "graphs", "network"}
        assert all(document.signature and document.summary for document in side)
        assert all(document.text.startswith(document.summary or "?") for document in side)
    assert tiny_corpus.card["described"] == tiny_corpus.card["documents"]
