"""The split by text: pieces of a book lie on one side, no side is empty, and phrases of the kind are no leaks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus import overlap, shelf
from tutelage.corpus.document import Document
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.split import clean_split as clean_split_shelf
from tutelage.corpus.split import split as split_shelf


@dataclass
class Sides:
    train: list[Document]
    heldout: list[Document]
    torn: int | None = None
    gone: int = 0
    said: list[str] = field(default_factory=list)


def split(documents: list[Document], share: float, seed: int) -> Sides:
    found = split_shelf(Shelf.of(documents, seed), share)
    return Sides(list(found.train.documents()), list(found.heldout.documents()), found.torn)


def clean_split(documents: list[Document], share: float, seed: int, max_overlap: float) -> Sides:
    found = clean_split_shelf(Shelf.of(documents, seed), share, max_overlap)
    sides = [list(side.documents()) for side in (found.train, found.heldout)]
    return Sides(*sides, gone=len(found.gone), said=found.said)


def overlaps(documents: list[Document], others: list[Document], own: bool = False) -> list[float]:
    found: list[float] = overlap.overlaps(Shelf.of(documents), Shelf.of(others), own).tolist()
    return found


def book(name: str, pieces: int, size: int = 100) -> list[Document]:
    return [Document(f"{name}-{number}", "x" * size, name, name, whole=name) for number in range(pieces)]


def sides_of(documents: list[Document], share: float, seed: int) -> tuple[set[str], set[str]]:
    found = split(documents, share, seed)
    return {one.group for one in found.train}, {one.group for one in found.heldout}


@pytest.mark.parametrize("seed", range(20))
def test_a_book_lies_on_one_side_and_about_the_share_is_held_out(seed: int) -> None:
    chance = random.Random(seed)
    documents = [piece for number in range(20) for piece in book(f"b{number}", chance.randint(20, 120))]
    train, heldout = sides_of(documents, 0.05, seed)
    assert train and heldout and not train & heldout
    held = sum(one.group in heldout for one in documents)
    assert 0.02 * len(documents) < held <= 0.1 * len(documents)


def test_two_books_of_which_none_is_short_lose_the_end_of_the_longest() -> None:
    documents = [*book("long", 60), *book("short", 40)]
    found = split(documents, 0.05, seed=1)
    assert found.torn == shelf.rank("long", 1) and [one.id for one in found.heldout] == [
        f"long-{n}" for n in range(55, 60)
    ]
    assert [one.id for one in found.train] == [one.id for one in documents if one not in found.heldout]
    said = clean_split([*prose_book("long", 40), *prose_book("other", 30)], 0.1, 1, 0.1).said
    assert "the held-out text is the end of 'long'" in said[0]


def prose_book(name: str, pieces: int) -> list[Document]:
    chance = random.Random(name)
    return [
        Document(
            f"{name}-{n}", " ".join(str(chance.randrange(10**8)) for _ in range(40)), name, f"{name} ({n})", whole=name
        )
        for n in range(pieces)
    ]


def test_a_short_book_among_long_ones_is_held_out_whole() -> None:
    found = split([*book("a", 60), *book("b", 60), *book("c", 20)], 0.05, seed=3)
    assert found.torn is None and {one.group for one in found.heldout} == {"c"}


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 500)), min_size=2, max_size=30),
    st.floats(0.01, 0.6),
    st.integers(0, 9),
)
def test_no_side_is_ever_empty(texts: list[tuple[int, int]], share: float, seed: int) -> None:
    documents = [piece for number, (count, size) in enumerate(texts) for piece in book(f"t{number}", count, size)]
    found = split(documents, share, seed)
    assert found.train and found.heldout
    assert sorted(one.id for one in found.train + found.heldout) == sorted(one.id for one in documents)
    both = {one.group for one in found.train} & {one.group for one in found.heldout}
    assert {shelf.rank(one, seed) for one in both} == ({found.torn} if found.torn is not None else set())


def texts(chance: random.Random, count: int, tail: str = "") -> list[Document]:
    bodies = [" ".join(str(chance.randrange(10**8)) for _ in range(40)) for _ in range(count)]
    return [Document(f"{number:04}", f"{body}. {tail}".strip(), "s") for number, body in enumerate(bodies)]


def test_a_single_text_whose_end_repeats_gives_other_pieces_away_and_keeps_some() -> None:
    """Before, all of it was held out and nothing was left to train on."""
    own = [" ".join(f"word{number}{at}" for at in range(60)) + "." for number in range(8)]
    documents = [Document(f"d{at}", text, "a", "a", whole="a") for at, text in enumerate([*own, own[0], own[0]])]
    sides = clean_split(documents, 0.1, 1, max_overlap=0.1)
    assert sides.train and sides.heldout
    assert len(sides.train) + len(sides.heldout) == len(documents)
    assert sides.heldout[0].text != own[0] and "others are held out" in sides.said[0]


def test_phrases_that_many_texts_share_are_no_leaks_unless_there_is_little_else() -> None:
    chance = random.Random(1)
    tail = "This is the sentence that ends each of them and says nothing of its own."
    documents = texts(chance, 60, tail)
    assert max(overlaps(documents[:10], documents[10:])) == 0.0
    assert min(overlaps(documents[:10], documents[10:13])) > 0.2  # three texts are few: those were copied
    assert overlaps([Document("t", tail, "s")], documents) == [1.0]


def test_copies_in_the_pieces_of_one_text_are_not_common_to_many() -> None:
    chance = random.Random(2)
    refrain = "And the old river carried the boat of the sailor down to the wide sea again."
    pieces = [Document(f"p{n}", f"{one.text} {refrain}", "s", whole="book") for n, one in enumerate(texts(chance, 30))]
    other = Document("o", f"{texts(chance, 1)[0].text[:100]} {refrain}", "s")
    assert overlaps([other], pieces)[0] > 0.4


def test_among_all_documents_the_own_text_does_not_count() -> None:
    chance = random.Random(3)
    documents = texts(chance, 12)
    twin = Document("twin", documents[3].text, "s")
    shares = overlaps([*documents[:5], twin], [*documents, twin], own=True)
    assert [share > 0.9 for share in shares] == [False, False, False, True, False, True]
    assert max(shares[:3]) == 0.0


def test_functions_that_differ_in_an_operator_are_no_copies_of_each_other() -> None:
    signs = ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^"]
    functions = [
        Document(f"{n}", f"def combine(left, right):\n    return left {sign} right", "s")
        for n, sign in enumerate(signs)
    ]
    assert max(overlaps(functions[:3], functions[3:])) <= 0.5
    found = clean_split(functions, 0.05, 1, max_overlap=0.5)
    assert (len(found.train), len(found.heldout), found.gone) == (9, 1, 0)
