"""Paragraphs that many documents share stay once; the rest of the text stays letter for letter."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.corpus.banners import find_banners
from tutelage.corpus.card import Tally
from tutelage.corpus.document import Document
from tutelage.corpus.shelf import Shelf

FOOTER = "Copyright of the Example Press, all rights are reserved."


def documents(texts: list[str], wholes: list[str | None] | None = None) -> list[Document]:
    return [Document(f"{n}", one, "s", whole=wholes[n] if wholes else None) for n, one in enumerate(texts)]


@dataclass
class Found:
    documents: list[Document]
    tally: Tally


def without_banners(given: list[Document]) -> Found:
    shelf = Shelf.of(given)
    banners, tally = find_banners(shelf), Tally()
    kept = [banners(one, row, tally) for row, one in enumerate(given)]
    return Found([one for one in kept if one is not None], tally)


def test_shared_paragraphs_stay_once() -> None:
    found = without_banners(documents([f"Own text number {n}.\n\n{FOOTER}\n\nMore of {n}." for n in range(8)]))
    assert [one.text for one in found.documents] == [
        f"Own text number 0.\n\n{FOOTER}\n\nMore of 0.",
        *(f"Own text number {n}.\n\nMore of {n}." for n in range(1, 8)),
    ]
    assert found.tally.pieces == {"shared": 7} and found.tally.bytes == {"shared": 7 * len(FOOTER)}
    assert not found.tally.removed and found.tally.plain_pieces({"shared": ""})["shared"]["examples"] == [FOOTER]


def test_few_copies_short_paragraphs_and_the_pieces_of_one_text_are_left_alone() -> None:
    few = documents([f"Text {n}.\n\n{FOOTER}" if n < 4 else f"Text {n}." for n in range(9)])
    short = documents([f"Text {n}.\n\nYes." for n in range(9)])
    pieces = documents([f"Text {n}.\n\n{FOOTER}" for n in range(9)], ["book"] * 5 + [None] * 4)
    rare = documents([f"Text {n}.\n\n{FOOTER}" if n < 5 else f"Text {n}." for n in range(300)])  # under 2 %
    for given in (few, short, rare):
        assert without_banners(given).documents == given
    assert without_banners(pieces[:8]).documents == pieces[:8]  # one book and three texts: four
    among = [*pieces[:8], *documents([f"Other text {n} stands alone." for n in range(9)])]
    assert without_banners(among).documents == among
    assert without_banners(pieces).tally.pieces.total() == 8


def test_what_is_nothing_else_is_emptied() -> None:
    found = without_banners(documents([FOOTER if n == 6 else f"Text {n}.\n\n{FOOTER}" for n in range(8)]))
    assert found.tally.removed == {"only shared paragraphs": 1} and "6" not in {one.id for one in found.documents}
