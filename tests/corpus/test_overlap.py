"""Overlap is counted exactly, whatever is in memory at once, and both sides are read once."""

from __future__ import annotations

import math
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tutelage.corpus import overlap, runs, shelf
from tutelage.corpus.document import Document
from tutelage.corpus.overlap import overlaps
from tutelage.corpus.scripts import words_and_signs
from tutelage.corpus.sentences import split_sentences
from tutelage.corpus.shelf import Shelf, ShelfWriter
from tutelage.corpus.words import I64, U64


def shared_sentences(chance: random.Random, count: int) -> list[Document]:
    """Documents of sentences of their own and of others' too, some of which are in most of them; some documents are
    pieces of one text."""
    words = ["river", "mountain", "harbour", "engine", "garden", "letter", "window", "teacher", "forest", "island"]

    def sentence() -> str:
        return " ".join(chance.choices(words, k=chance.randint(3, 14))).capitalize() + "."

    known = [sentence() for _ in range(60)]
    often = [1 / (at + 1) ** 2 for at in range(len(known))]
    documents = []
    for number in range(count):
        text = [sentence() if chance.random() < 0.6 else chance.choices(known, often)[0] for _ in range(6)]
        whole = f"whole {number // 9}" if number % 9 < 3 else None
        documents.append(Document(f"{number:04}", " ".join(text), "s", whole=whole))
    return documents


def reference(documents: Sequence[Document], others: Sequence[Document], own: bool) -> list[float]:
    """The definition, in sets of Python."""
    seed = 0
    holders: list[dict[tuple[str, ...], set[int]]] = [defaultdict(set), defaultdict(set)]
    for one in others:
        for kind, things in enumerate(things_of(one.text)):
            for thing, _ in things:
                holders[kind][thing].add(shelf.rank(one.group, seed))
    limit = max(5, math.ceil(0.02 * len({one.group for one in others})))
    found = []
    for one in documents:
        seen, common = [], []
        for kind, things in enumerate(things_of(one.text)):
            total = max(1, sum(weight for _, weight in things))
            met = [(len(holders[kind][thing]) - own, weight) for thing, weight in things]
            seen.append(sum(weight for times, weight in met if times > 0) / total)
            common.append(sum(weight for times, weight in met if times >= limit) / total)
        usual = max(common) <= 1 - 0.3
        found.append(max(0.0, *(a - (b if usual else 0) for a, b in zip(seen, common, strict=True))))
    return found


def things_of(text: str) -> tuple[list[tuple[tuple[str, ...], int]], list[tuple[tuple[str, ...], int]]]:
    words = tuple(word for chunk in text.split() for word in words_and_signs(chunk))
    sentences = [
        tuple(word for chunk in one.split() for word in words_and_signs(chunk)) for one in split_sentences(text)
    ]
    return [(words[at : at + 8], 1) for at in range(len(words) - 7)], [(one, len(one)) for one in sentences]


def on_disk(folder: Path, documents: Sequence[Document]) -> Shelf:
    writer = ShelfWriter(folder / "part", 0)
    for one in documents:
        writer.add(one)
    return Shelf.of(writer.close(), 0)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_it_is_what_the_definition_says(
    own: bool, small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:  # many parts, batches, runs and ranges
        for module, name, size in (
            (shelf, "_PART_CHARACTERS", 3000), (shelf, "_BATCH_CHARACTERS", 800), (overlap, "_IN_RUN", 100),
            (runs, "_TOGETHER", 200),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, size)
    documents = shared_sentences(random.Random(5), 300)
    whole = on_disk(tmp_path, documents)
    assert (len(whole.parts) > 5) == small
    rows = np.arange(3, len(documents), 7)
    others = whole if own else whole.only(np.setdiff1d(whole.rows, rows))
    (tmp_path / "work").mkdir()
    found = overlaps(whole.only(rows), others, own, work=tmp_path / "work")
    chosen = [documents[row] for row in rows]
    rest = documents if own else [one for at, one in enumerate(documents) if at not in set(rows.tolist())]
    assert found.tolist() == pytest.approx(reference(chosen, rest, own), abs=1e-12)
    assert len(set(np.round(found, 6).tolist())) > 10  # neither all nothing nor all everything
    assert not list((tmp_path / "work").iterdir())


def test_each_side_is_read_once_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_PART_CHARACTERS", 2000)
    monkeypatch.setattr(runs, "_TOGETHER", 50)
    whole = on_disk(tmp_path, shared_sentences(random.Random(1), 200))
    read: list[int] = []
    batches = shelf.View.batches

    def counted(view: shelf.View) -> Iterator[tuple[I64, pa.RecordBatch]]:
        read.append(view.first)
        return batches(view)

    monkeypatch.setattr(shelf.View, "batches", counted)
    overlaps(whole, whole, own=True)
    assert len(read) == 2 * len(whole.parts) > 10


def test_no_more_than_a_range_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the same few things occur: what counts is the number of parts and of documents."""
    monkeypatch.setattr(runs, "_TOGETHER", 300)
    sizes: list[int] = []
    counts_of = overlap._counts_of

    def counted(values: U64, others: U64, columns: Sequence[NDArray[np.uint32]]) -> I64:
        sizes.append(len(values) + len(others))
        return counts_of(values, others, columns)

    monkeypatch.setattr(overlap, "_counts_of", counted)
    whole = on_disk(tmp_path, shared_sentences(random.Random(2), 400))
    overlaps(whole, whole, own=True)
    assert len(sizes) > 20 and max(sizes) < 600


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)), max_size=200), st.integers(1, 50))
def test_runs_give_back_what_was_written(entries: list[tuple[int, int]], together: int) -> None:
    hashes = np.array([one for one, _ in entries], np.uint64)
    numbers = np.array([one for _, one in entries], np.int64)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_TOGETHER", together)
        written = []
        for part in range(3):
            order = np.argsort(hashes[part::3], kind="stable")
            some = hashes[part::3][order], numbers[part::3][order]
            written.append(runs.Run.write(Path(folder) / str(part), *some))
        read = [runs.read_all(written, low, high, 1) for low, high in runs.ranges(written)]
        values = np.concatenate([one for one, _ in read])
        assert sorted(
            zip(values.tolist(), np.concatenate([one[0] for _, one in read]).tolist(), strict=True)
        ) == sorted(zip(hashes.tolist(), numbers.tolist(), strict=True))
        assert np.concatenate([np.zeros(0, np.uint64), *written[0].hashes()]).tolist() == sorted(hashes[::3].tolist())
