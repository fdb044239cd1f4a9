"""Documents on disk: parts and batches give back what was written, rows and facts belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.corpus import shelf as shelf_module
from tutelage.corpus.card import Side
from tutelage.corpus.document import Document, read_documents
from tutelage.corpus.shelf import CODE, LABELLED, SIGNED, Shelf, ShelfWriter
from tutelage.corpus.write import write_side


def documents(count: int) -> list[Document]:
    return [
        Document(
            f"{(number * 7919) % 10007:016x}", f"Text {number} à ☃.", "s", f"n{number}",
            "code" if number % 5 == 0 else "text", "f()" if number % 3 == 0 else None, None,
            "x" if number % 2 else None, f"book{number // 10}" if number < 30 else None,
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "_BATCH_CHARACTERS", 100)
    monkeypatch.setattr(shelf_module, "_PART_CHARACTERS", 300)


def on_disk(folder: Path, given: list[Document]) -> Shelf:
    writer = ShelfWriter(folder / "part", seed=3)
    for document in given:
        writer.add(document)
    return Shelf.of(writer.close(), 3)


@pytest.mark.usefixtures("small_parts")
def test_what_is_written_is_read_by_batch_by_row_and_by_part(tmp_path: Path) -> None:
    given = documents(100)
    shelf = on_disk(tmp_path, given)
    assert len(shelf.parts) > 3 and list(shelf.documents()) == given
    some = shelf.only(shelf.rows[::7])
    assert list(some.documents()) == given[::7] and len(some) == 15
    assert some.fetch(some.rows[[5, 0, 5]]) == [given[35], given[0], given[35]]
    assert some.size == sum(len(one.text.encode()) for one in given[::7])
    rows = [row for view in some.views() for at, _ in view.batches() for row in at.tolist()]
    assert rows == list(range(0, 100, 7))
    assert [rank for view in some.views() for rank in view.ranks.tolist()] == some.kept.ranks.tolist()


@pytest.mark.usefixtures("small_parts")
def test_the_pieces_of_one_text_lie_in_one_part(tmp_path: Path) -> None:
    shelf = on_disk(tmp_path, documents(100))
    ranks = [set(part.facts.ranks.tolist()) for part in shelf.parts]
    assert sum(map(len, ranks)) == len(set().union(*ranks)) == 3 + 70


def test_facts_say_what_the_steps_ask_for() -> None:
    given = documents(12)
    facts = Shelf.of(given, seed=3).kept
    assert [one.decode() for one in facts.ids.tolist()] == [one.id for one in given]
    assert facts.chars.tolist() == [len(one.text) for one in given]
    for flag, has in ((SIGNED, "signature"), (LABELLED, "label")):
        assert [bool(one & flag) for one in facts.flags] == [getattr(one, has) is not None for one in given]
    assert [bool(one & CODE) for one in facts.flags] == [one.kind == "code" for one in given]
    assert len(set(facts.ranks.tolist())) == 2 and Shelf.of(given, 4).kept.ranks[0] != facts.ranks[0]
    assert len(set(Shelf.of(given, 3).apart().kept.ranks.tolist())) == 12


def test_a_shelf_can_be_empty() -> None:
    shelf = Shelf.of([])
    assert (len(shelf), shelf.size, shelf.views(), list(shelf.documents())) == (0, 0, [], [])


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("bucket", [1 << 24, 200])
def test_a_side_is_written_in_the_order_of_ids_however_it_is_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: int
) -> None:
    monkeypatch.setattr("tutelage.corpus.write._BUCKET_BYTES", bucket)
    given, side = documents(2300), Side()
    write_side(tmp_path / "side.parquet", on_disk(tmp_path, given), side, tmp_path)
    assert read_documents(tmp_path / "side.parquet") == sorted(given, key=lambda one: one.id)
    assert side.documents == 2300 and side.kinds == {"code": 460, "text": 1840}
    assert not list(tmp_path.glob("bucket-*"))
