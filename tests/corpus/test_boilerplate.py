"""Licences, headers and footers go and are counted; the text between them stays letter for letter."""

from __future__ import annotations

import pytest

from tutelage.corpus.boilerplate import without_banners, without_gutenberg
from tutelage.corpus.document import Document

BODY = "\n\nCHAPTER I\n\nIt was the best of times.\n\n*****\n\nIt was the worst of times.\n\n"
FOOTER = "Copyright of the Example Press, all rights are reserved."


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        ("*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***", "*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***"),
        ("***START OF THE PROJECT GUTENBERG EBOOK A TALE***", "***END OF THE PROJECT GUTENBERG EBOOK A TALE***"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK A VERY\nLONG TITLE ***", "End of Project Gutenberg's A Tale, by X"),
        ("*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04*", "End of the Project Gutenberg Etext of A Tale"),
    ],
)
def test_header_and_licence_of_project_gutenberg_go(head: str, tail: str) -> None:
    book = f"The Project Gutenberg EBook of A Tale\n\nTitle: A Tale\n\n{head}{BODY}{tail}\n\nThe licence in full.\n"
    text, gone = without_gutenberg(book)
    assert text == BODY and gone == len(book) - len(BODY)
    credits = f"{head}\n\nProduced by A Volunteer\nand another\n\n{BODY}{tail}"
    assert without_gutenberg(credits)[0].strip() == BODY.strip()


def test_other_texts_are_left_alone() -> None:
    text = "A page on the START OF THIS PROJECT, not GUTENBERG.\n\n*** START ***\n\nMore."
    assert without_gutenberg(text) == (text, 0)


def documents(texts: list[str], wholes: list[str | None] | None = None) -> list[Document]:
    return [Document(f"{n}", one, "s", whole=wholes[n] if wholes else None) for n, one in enumerate(texts)]


def test_shared_paragraphs_stay_once() -> None:
    found = without_banners(documents([f"Own text number {n}.\n\n{FOOTER}\n\nMore of {n}." for n in range(8)]))
    assert [one.text for one in found.documents] == [
        f"Own text number 0.\n\n{FOOTER}\n\nMore of 0.",
        *(f"Own text number {n}.\n\nMore of {n}." for n in range(1, 8)),
    ]
    assert dict(found.pieces) == {FOOTER: 7} and found.bytes == 7 * len(FOOTER) and not found.emptied


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
    assert without_banners(pieces).pieces.total() == 8


def test_what_is_nothing_else_is_emptied() -> None:
    found = without_banners(documents([FOOTER if n == 6 else f"Text {n}.\n\n{FOOTER}" for n in range(8)]))
    assert [one.id for one in found.emptied] == ["6"] and len(found.documents) == 7
