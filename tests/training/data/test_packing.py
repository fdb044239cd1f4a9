"""Packing and the computed permutation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.store.errors import InputError
from tutelage.training.data.packing import Example, Segment, pack
from tutelage.training.data.position import DataState, microbatches, ordered_batches, permuted, row_numbers


def example(number: int, *lengths: int) -> Example:
    return Example([Segment([number] * n, [number + 1] * n, [1.0] * n, {"x": [0.5] * n}) for n in lengths])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_every_token_is_packed_once_and_none_is_cut(lengths: list[int]) -> None:
    rows = pack([example(number + 1, length) for number, length in enumerate(lengths)], 20)
    assert rows.num_tokens == sum(lengths)
    counts = np.bincount(rows.tokens[rows.documents > 0], minlength=len(lengths) + 1)[1:]
    assert counts.tolist() == lengths
    for number in range(1, len(lengths) + 1):  # whole: one row, positions 0..n-1
        where = rows.tokens == number
        assert where.any(axis=1).sum() == 1
        assert rows.positions[where].tolist() == list(range(lengths[number - 1]))
    assert (rows.weights[rows.documents == 0] == 0).all()
    best = -(-sum(lengths) // 20)
    assert len(rows) <= 1.7 * best + 1  # best fit decreasing never needs more (Johnson 1974)


def test_segments_of_an_example_share_a_row_and_are_separate_documents() -> None:
    rows = pack([example(1, 4, 3), example(2, 5, 5)], 10)
    for number in (1, 2):
        where = (rows.tokens == number) & (rows.documents > 0)
        assert where.any(axis=1).sum() == 1
        assert len(set(rows.documents[where].tolist())) == 2
    assert rows.extras["x"][rows.documents > 0].tolist() == [0.5] * 17


def test_what_does_not_fit_is_an_error_and_so_is_nothing() -> None:
    with pytest.raises(InputError, match="21 tokens does not fit a row of 20"):
        pack([example(1, 21)], 20)
    with pytest.raises(InputError, match="nothing to train on"):
        pack([], 20)


@given(st.integers(1, 3000), st.text(max_size=5))
def test_the_permutation_is_one(size: int, key: str) -> None:
    assert sorted(permuted(np.arange(size), size, key)) == list(range(size))


def test_the_order_is_fixed_forever() -> None:
    """A golden: changing the permutation would change every run and break every resume."""
    assert permuted(np.arange(10), 10, "7:0").tolist() == [0, 3, 9, 7, 8, 2, 5, 4, 1, 6]


def test_any_part_of_the_order_can_be_computed_alone() -> None:
    whole = row_numbers(((37, 1.0),), DataState(7), 100)
    assert row_numbers(((37, 1.0),), DataState(7, 60), 40).tolist() == whole[60:].tolist()
    assert sorted(whole[:37]) == sorted(whole[37:74]) == list(range(37))
    assert whole[:37].tolist() != whole[37:74].tolist()


def test_batches_resume_in_the_middle_of_an_epoch() -> None:
    rows = pack([example(number, 10) for number in range(1, 12)], 10)

    def step(sample: int, parts: int = 1, row: int = 0, of: int = 1) -> list[int]:
        made = microbatches(rows, DataState(1, sample), 4, parts, row, of)
        return [token for part in made for token in part.tokens[:, 0].tolist()]

    numbers = row_numbers(((11, 1.0),), DataState(1), 24)
    whole = [token for sample in range(0, 24, 4) for token in step(sample)]
    assert whole == [int(rows.tokens[number, 0]) for number in numbers]
    assert step(8, parts=2) == step(8)
    shares = step(8, 2, 0, 2), step(8, 2, 1, 2)  # two processes: alternate rows of each part
    assert [shares[0][0], shares[1][0], shares[0][1], shares[1][1]] == step(8)


def test_ordered_batches_take_all_or_an_even_part() -> None:
    rows = pack([example(number, 10) for number in range(1, 12)], 10)
    assert sum(batch.rows for batch in ordered_batches(rows, 4)) == 11
    assert sum(batch.rows for batch in ordered_batches(rows, 4, limit=5)) == 5
