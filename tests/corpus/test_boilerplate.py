"""Headers and licences of books go and are counted; the text between them stays letter for letter."""

from __future__ import annotations

import pytest

from tutelage.corpus.boilerplate import without_gutenberg

BODY = "\n\nCHAPTER I\n\nIt was the best of times.\n\n*****\n\nIt was the worst of times.\n\n"


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
