"""Where documents end: markers, headings, lines, paragraphs and files, guessed and set; markers never stay in text."""

from __future__ import annotations

import random

import pytest

from tutelage.corpus.boundaries import documents_of, guess, relatedness, without_markers

NOUNS = [
    f"{first}{second}" for first in ["river", "stone", "glass", "paper", "market"] for second in "man house field way"
]
STORIES = ["Once there was a cat.\n\nIt slept.", "Once there was a dog.\n\nIt ran.", "Once there was a cow."]


def running_text(chance: random.Random, units: int) -> list[str]:
    """Sentences that go on about the things of the sentence before."""
    words = [f"{chance.choice(NOUNS)}{number}" for number in range(units + 3)]
    return [
        f"The {a} met the {b} and then the {c} came." for a, b, c in zip(words, words[1:], words[2:], strict=False)
    ][:units]


def separate_texts(chance: random.Random, units: int) -> list[str]:
    words = [f"{chance.choice(NOUNS)}{number % 97}" for number in range(400)]
    return [f"The {chance.choice(words)} met the {chance.choice(words)} at last." for _ in range(units)]


@pytest.mark.parametrize(
    "marker",
    ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "\f", "<｜end▁of▁sentence｜>"],
)
@pytest.mark.parametrize("glue", ["\n{}\n", "{}\n"])
def test_markers_end_documents_and_never_stay(marker: str, glue: str) -> None:
    text = glue.format(marker).join(STORIES) + glue.format(marker)
    boundary, found = documents_of(text, "auto")
    assert boundary == "marker" and [one.strip() for one in found] == STORIES


def test_sentences_between_begin_and_end_marks() -> None:
    text = "<s>The cat slept.</s>\n<s>The dog ran.</s>\nThis is <s>struck</s> out here.</s>\n"
    found = [one.strip() for one in documents_of(text, "auto")[1]]
    assert found == ["The cat slept.", "The dog ran.", "This is <s>struck</s> out here.</s>"]


def test_a_marker_that_is_talked_about_is_no_marker() -> None:
    text = "GPT-2 ends documents with `<|endoftext|>`, as its paper says.\n\nBERT has '[EOS]' nowhere."
    assert documents_of(text, "auto") == ("file", [text])
    assert without_markers(text) == [text]
    assert without_markers("A row.<|endoftext|>") == ["A row."] and without_markers("<|endoftext|>") == [""]


def test_form_feeds_between_pages_are_no_boundaries() -> None:
    pages = "The text of this page goes on\n\fto the next one [Page 1]\n\fand so on.\n\fThe end"
    assert guess(pages) == "file"


def test_an_own_marker() -> None:
    boundary, found = documents_of("One joke.\n%\nAnother joke.\n%\n", "auto", marker="\n%\n")
    assert (boundary, found) == ("marker", ["One joke.", "Another joke."])


@pytest.mark.parametrize("heading", ["# {}", " = {} = "])
def test_top_headings_begin_documents(heading: str) -> None:
    sections = [
        f"{heading.format(name)}\n\nText of {name}.\n\n#{heading.strip().format('part')}\n\nMore." for name in "ABC"
    ]
    boundary, found = documents_of("\n\n".join(sections), "auto", plain=False)
    assert boundary == "heading" and [one.strip() for one in found] == [one.strip() for one in sections]
    assert guess("# One title\n\nText.\n\n## Part\n\nText.\n\n## Part two\n\nText.") == "file"
    assert guess("```\n# a\n# b\n# c\n```\n") == "file"  # comments of a script


def test_chapters_are_headings_where_it_is_asked_for() -> None:
    book = "Preface here.\n\nCHAPTER I\n\nIt began.\n\nCHAPTER II\n\nIt ended."
    assert guess(book) == "file"
    assert documents_of(book, "heading")[1] == [
        "Preface here.\n",
        "CHAPTER I\n\nIt began.\n",
        "CHAPTER II\n\nIt ended.",
    ]


def test_lines_are_documents_where_neighbours_have_nothing_to_do_with_each_other() -> None:
    chance = random.Random(1)
    separate, running = separate_texts(chance, 400), running_text(chance, 400)
    assert relatedness(separate) < 1.5 < 3 < relatedness(running)
    assert documents_of("\n".join(separate), "auto") == ("line", separate)
    assert guess("\n".join(running)) == "file"
    assert guess("\n".join(separate), plain=False) == "file"  # in Markdown, lines are no documents


def test_thirty_articles_one_a_line() -> None:
    chance = random.Random(2)
    articles = [" ".join(separate_texts(chance, 20)) for _ in range(30)]
    assert documents_of("\n".join(articles), "auto") == ("line", articles)


def test_paragraphs_are_documents_only_where_they_are_many_and_unrelated() -> None:
    chance = random.Random(3)
    separate, running = separate_texts(chance, 300), running_text(chance, 300)
    assert documents_of("\n\n".join(separate), "auto") == ("blank_line", separate)
    assert guess("\n\n".join(running)) == "file"
    assert guess("\n\n".join(separate[:50])) == "file"
    assert guess("\n\n".join(["The same paragraph stands here again."] * 300)) == "file"
    assert documents_of("\n\n".join(running), "blank_line")[1] == running


def test_a_file_as_one_document_and_blank_ones_left_out() -> None:
    assert documents_of("One.\n\nTwo.", "file") == ("file", ["One.\n\nTwo."])
    assert documents_of("One.\n\n \nTwo.\n", "line")[1] == ["One.", "Two."]
    assert documents_of(" \n", "auto")[1] == []
