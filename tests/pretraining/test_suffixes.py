"""The suffix array sorts as the definition says, and finds what a plain search finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tutelage.pretraining.suffixes import longest_match, occurrences, suffix_array

Text = st.lists(st.integers(0, 3), max_size=60)


def contains(text: list[int], passage: list[int]) -> list[int]:
    return [at for at in range(len(text) - len(passage) + 1) if text[at : at + len(passage)] == passage]


@given(Text)
def test_suffixes_are_sorted(text: list[int]) -> None:
    found = suffix_array(np.array(text, np.uint16))
    assert sorted(found.tolist()) == list(range(len(text)))
    suffixes = [text[at:] for at in found]
    assert suffixes == sorted(suffixes)


@given(Text.filter(bool), Text.filter(bool))
def test_the_longest_match_is_the_longest(text: list[int], passage: list[int]) -> None:
    tokens = np.array(text, np.uint16)
    length, place = longest_match(tokens, suffix_array(tokens), np.array(passage))
    assert text[place : place + length] == passage[:length]
    assert length == len(passage) or not contains(text, passage[: length + 1])


@given(Text.filter(bool), Text.filter(bool))
def test_all_places_of_a_passage_are_found(text: list[int], passage: list[int]) -> None:
    tokens = np.array(text, np.uint16)
    suffixes = suffix_array(tokens)
    begin, end = occurrences(tokens, suffixes, np.array(passage))
    assert sorted(suffixes[begin:end].tolist()) == contains(text, passage)


def test_long_repeats_are_sorted_too() -> None:
    text = [1, 2] * 300 + [3] + [1, 2] * 300
    suffixes = suffix_array(np.array(text, np.uint16))
    assert [text[at:] for at in suffixes] == sorted(text[at:] for at in range(len(text)))
