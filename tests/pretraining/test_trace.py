"""Spans of a text that stand in the corpus are found whole, whatever tokens their edges were cut into."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.document import Document, write_documents
from tutelage.pretraining.trace import SUFFIXES, Index, Use, covered, open_index, trace
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

TEXTS = [
    "Return the number of items in the container, or zero if it is empty.",
    "The naïve café in the größe Straße serves 学習 every day of the week.",
    "Return the number of files in the folder. Links are not followed here.",
]


def tokenizer_of(texts: list[str]) -> Tokenizer:
    return train(TokenizerConfig(vocab_size=420), texts * 20, EventLog())


def index_of(folder: Path, texts: list[str], tokenizer: Tokenizer) -> Index:
    documents = [Document(f"{at:02}", text, f"source-{at}", f"name-{at}") for at, text in enumerate(texts)]
    (folder / "corpus").mkdir(exist_ok=True)
    write_documents(folder / "corpus" / "train.parquet", documents)
    return open_index(folder / "corpus", tokenizer, folder / "work", EventLog())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_of(TEXTS)


@pytest.fixture(scope="module")
def index(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return index_of(tmp_path_factory.mktemp("traced"), TEXTS, tokenizer)


def test_a_span_is_found_with_its_document_and_what_stands_around_it(index: Index, tokenizer: Tokenizer) -> None:
    text = "Nobody knows why, but items in the container, or zero if we asked."
    (span,) = trace(text, [index], tokenizer, 5)
    assert text[span.begin : span.end] == span.text and span.text == "items in the container, or zero if"
    assert span.count == 1 and span.words == 7
    (found,) = span.documents
    assert (found.source, found.name) == ("source-0", "name-0")
    assert (found.before + span.text + found.after) == TEXTS[0]


def test_what_several_documents_hold_is_counted(index: Index, tokenizer: Tokenizer) -> None:
    (span,) = trace("Return the number of horses.", [index], tokenizer, 4)
    assert span.text == "Return the number of" and span.count == 2
    assert [one.source for one in span.documents] == ["source-0", "source-2"]


def test_the_shortest_span_that_counts_is_the_callers(index: Index, tokenizer: Tokenizer) -> None:
    text = "Return the number of horses."
    assert trace(text, [index], tokenizer, 5) == [] and len(trace(text, [index], tokenizer, 3)) == 1
    assert trace("", [index], tokenizer, 1) == []


def test_spans_may_overlap_and_what_they_cover_is_counted_once(index: Index, tokenizer: Tokenizer) -> None:
    text = "Return the number of items in the folder. Links are not followed here."
    spans = trace(text, [index], tokenizer, 4)
    assert len(spans) == 2 and covered(spans) == len(text)
    assert covered([]) == 0


def test_letters_of_several_bytes_are_never_cut(index: Index, tokenizer: Tokenizer) -> None:
    for text in ("größe Straße serves 学習 every", "größe Straße serves 学问 every day of the"):
        for span in trace(text, [index], tokenizer, 2):
            assert text[span.begin : span.end] == span.text and span.text in "".join(TEXTS)


WORDS = ["return", "the", "größe", "of", "all", "files", "1999", "学習", "naïve."]


def sentences(*words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), min_size=3, max_size=12).map(" ".join)


@settings(max_examples=25)
@given(st.lists(sentences(*WORDS), min_size=1, max_size=4, unique=True), sentences(*WORDS, "zebra"))
def test_no_longer_span_is_missed(tmp_path_factory: pytest.TempPathFactory, texts: list[str], text: str) -> None:
    """Against a plain search over all substrings: the longest one is found, to the character."""
    tokenizer = tokenizer_of(["return the größe of all files 1999 学習 naïve."])
    spans = trace(text, [index_of(tmp_path_factory.mktemp("t"), texts, tokenizer)], tokenizer, 1)
    everything = {text[a:b] for a in range(len(text)) for b in range(a + 1, len(text) + 1)}
    longest = max((len(part.strip()) for part in everything if any(part in one for one in texts)), default=0)
    assert all(any(span.text in one for one in texts) for span in spans)
    if any(len(span.text) > 12 for span in spans) or longest > 24:  # tokens lie whole in spans of this length
        assert max(len(span.text) for span in spans) == longest


def test_the_index_is_made_once_and_a_lossy_tokenizer_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    index_of(tmp_path, TEXTS, tokenizer)
    (made,) = (tmp_path / "work").glob(f"*/{SUFFIXES}")
    before = made.stat().st_mtime_ns
    index = open_index(tmp_path / "corpus", tokenizer, tmp_path / "work", EventLog())
    assert made.stat().st_mtime_ns == before
    lossy = train(TokenizerConfig(method="wordpiece", vocab_size=200), TEXTS * 20, EventLog())
    with pytest.raises(InputError, match="verbatim spans cannot be found"):
        trace("Return the number of items.", [index], lossy, 3)


def test_a_source_of_weight_nothing_was_not_trained_on(tmp_path: Path, tokenizer: Tokenizer) -> None:
    index_of(tmp_path, TEXTS, tokenizer)
    without = Use("source", frozenset({"source-0"}))
    index = open_index(tmp_path / "corpus", tokenizer, tmp_path / "work", EventLog(), [without])
    (span,) = trace("Return the number of horses.", [index], tokenizer, 4)
    assert span.count == 1 and [one.source for one in span.documents] == ["source-2"]
    assert trace("items in the container, or zero", [index], tokenizer, 4) == []
    both = [without, Use("name", frozenset({"name-2"}))]  # of two stages each trained on what the other left out
    index = open_index(tmp_path / "corpus", tokenizer, tmp_path / "work", EventLog(), both)
    assert trace("Return the number of horses.", [index], tokenizer, 4)[0].count == 2
