from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.bench.encoding import Rules, token_windows
from tutelage.evaluation.bench.protocol import Pair
from tutelage.store.errors import InputError


def rules(context: int = 100, start: list[int] | None = None) -> Rules:
    """One id a word, its space with it; 'ab' joins whatever follows it without a space."""

    def plain(text: str) -> list[int]:
        return [sum(map(ord, piece)) for piece in text.replace(" ", "\0 ").split("\0") if piece]

    return Rules(lambda text: [*(start or []), *plain(text)], plain, 7, context)


def test_spaces_at_the_end_of_a_context_go_over_to_the_continuation():
    made, other = rules().pair(Pair("one two ", "three")), rules().pair(Pair("one two", " three"))
    assert made == other
    assert len(made.continuation) == 1


def test_an_empty_context_is_the_prefix_and_nothing_else_gets_it():
    assert rules().pair(Pair("", "one")).context == [7]
    assert 7 not in rules().pair(Pair("one", " two")).context


def test_the_start_token_stands_once_where_the_tokenizer_puts_it():
    made = rules(start=[9]).pair(Pair("one", " two three"))
    assert made.context[0] == 9
    assert 9 not in made.continuation
    assert len(made.continuation) == 2


def test_a_prefix_that_begins_the_continuation_is_not_scored_after_itself():
    one = Rules(lambda text: [7, 8], lambda text: [7, 8], 7, 10)
    assert one.pair(Pair("", "x")).context == [7]
    assert one.pair(Pair("", "x")).continuation == [8]


def test_what_does_not_fit_is_cut_on_the_left_and_counted():
    made = rules(4).pair(Pair("a b c d e f", " g h"))
    assert len(made.context) + len(made.continuation) - 1 == 4
    assert made.cut == 3


def test_a_continuation_longer_than_the_context_is_refused():
    with pytest.raises(InputError, match="6 tokens, but the model's context is 4"):
        rules(4).pair(Pair("a", " b c d e f g"))


def test_nothing_left_to_score_is_refused():
    with pytest.raises(InputError, match="left to score"):
        Rules(lambda text: [1], lambda text: [1], 0, 10).pair(Pair("a", "b"))


@given(st.integers(1, 60), st.integers(2, 12), st.booleans())
def test_windows_score_every_id_once_within_the_context(count: int, context: int, overlap: bool):
    ids = list(range(100, 100 + count))
    windows = token_windows(ids, 7, context, overlap)
    assert [id for _, after in windows for id in after] == ids
    assert windows[0][0] == [7]
    for before, after in windows[1:]:
        assert len(before) + len(after) - 1 == context or before[0] == 7
        stream = [7, *ids]
        at = stream.index(after[0])
        assert before == stream[at - len(before) : at]
        if overlap:
            assert len(before) >= context // 2
