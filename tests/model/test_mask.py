"""Who sees whom, pair by pair: the mask against its own definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.model.mask import AttentionMask, alibi_slopes

LENGTH = 7
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=LENGTH, max_size=LENGTH), min_size=1, max_size=3)
WINDOWS = st.none() | st.integers(1, LENGTH + 1)
PAIRS = list(itertools.product(range(LENGTH), range(LENGTH)))


def places(rows: int) -> torch.Tensor:
    return torch.arange(LENGTH).expand(rows, -1)


@given(ROWS, WINDOWS)
@settings(max_examples=40, deadline=None)
def test_a_token_sees_its_own_document_before_it_within_the_window(rows: list[list[int]], window: int | None) -> None:
    mask = AttentionMask(places(len(rows)), torch.tensor(rows), None)
    made = mask.allowed(window)
    assert made is not None and made.shape == (len(rows), 1, LENGTH, LENGTH) and made.dtype == torch.bool
    assert mask.allowed(window) is made and mask.explicit(window) is made
    for row, documents in enumerate(rows):
        for query, key in PAIRS:
            near = window is None or query - key < window
            assert bool(made[row, 0, query, key]) == (key <= query and near and documents[query] == documents[key])


@pytest.mark.parametrize("window", [None, 1, 3, LENGTH - 1, LENGTH, LENGTH + 1])
def test_without_documents_a_row_is_one_and_what_no_window_cuts_is_plain_causal(window: int | None) -> None:
    mask = AttentionMask(places(2), None, None)
    assert (mask.allowed(window) is None) == (window is None or window >= LENGTH)
    made = mask.explicit(window)
    assert made.shape == (1, 1, LENGTH, LENGTH) and made.dtype == torch.bool
    for query, key in PAIRS:
        assert bool(made[0, 0, query, key]) == (key <= query and query - key < (window or LENGTH))


@pytest.mark.parametrize("window", [None, 1, 2, 9])
def test_with_a_cache_a_query_sees_up_to_its_own_place_whatever_the_row_beside_it(window: int | None) -> None:
    positions = torch.tensor([[0, 1, 2], [4, 5, 6]])
    made = AttentionMask(positions, torch.ones_like(positions), 8).allowed(window)
    assert made is not None and made.shape == (2, 1, 3, 8)
    for row, query, key in itertools.product(range(2), range(3), range(8)):
        behind = int(positions[row, query]) - key
        assert bool(made[row, 0, query, key]) == (0 <= behind < (window or 8))


def test_distances_count_from_the_key_to_the_query() -> None:
    positions = torch.tensor([[0, 1, 0], [3, 4, 5]])  # the first row holds two documents
    apart = AttentionMask(positions, None, None).distances()
    assert apart.dtype == torch.float32 and apart.shape == (2, 1, 3, 3)
    assert apart[0, 0].tolist() == [[0, -1, 0], [1, 0, 1], [0, -1, 0]]
    assert apart[1, 0].tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]
    assert AttentionMask(positions, None, 4).distances()[1, 0].tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2]]


def test_slopes_are_those_of_the_paper() -> None:
    """Powers of 2^(-8/n); where n is no power of two, every second one of twice as many heads after them."""
    assert alibi_slopes(8).tolist() == [2.0**-power for power in range(1, 9)]
    more = [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
    assert alibi_slopes(12).tolist() == pytest.approx([*alibi_slopes(8).tolist(), *more])
    assert alibi_slopes(1).tolist() == [2.0**-8]


SIZES = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).filter(lambda sizes: sum(sizes) > 0)


def branching(rows: list[list[tuple[int, int, int]]]) -> AttentionMask:
    """Rows of documents, each of a shared part and two branches of these sizes, cut or padded to LENGTH."""
    made = []
    for sizes in rows:
        tokens = [
            (shared * (branch > 0) + place, number, branch)
            for number, (shared, *branches) in enumerate(sizes, 1)
            for branch, size in enumerate((shared, *branches))
            for place in range(size)
        ]
        made.append([*tokens, *[(0, 0, 0)] * LENGTH][:LENGTH])
    positions, documents, branches = torch.tensor(made).unbind(-1)
    return AttentionMask(positions, documents, None, branches)


@given(st.lists(st.lists(SIZES, max_size=3), min_size=1, max_size=2), WINDOWS)
@settings(max_examples=40, deadline=None)
def test_a_branch_sees_what_is_shared_and_itself_as_far_back_as_positions_say(
    rows: list[list[tuple[int, int, int]]], window: int | None
) -> None:
    mask = branching(rows)
    made = mask.allowed(window)
    assert made is not None and mask.documents is not None and mask.branches is not None
    for row, (query, key) in itertools.product(range(len(rows)), PAIRS):
        places, documents, branches = mask.positions[row], mask.documents[row], mask.branches[row]
        expected = key <= query and documents[query] == documents[key] and branches[key] in (0, branches[query])
        if documents[query]:  # what padding sees is never used
            expected = expected and places[key] <= places[query]
            expected = expected and (window is None or places[query] - places[key] < window)
            assert bool(made[row, 0, query, key]) == bool(expected)
    row_, query_, key_ = torch.meshgrid(torch.arange(len(rows)), *[torch.arange(LENGTH)] * 2, indexing="ij")
    seen = mask.blocks(window).mask_mod(row_, torch.zeros_like(row_), query_, key_)
    assert torch.equal(seen[:, None], made)


def test_branches_are_of_documents_and_are_not_cached() -> None:
    whole = torch.zeros(1, LENGTH, dtype=torch.int64)
    for documents, cached in ((None, None), (whole, LENGTH)):
        with pytest.raises(ValueError, match="branches"):
            AttentionMask(places(1), documents, cached, whole)


@given(ROWS, WINDOWS)
@settings(max_examples=8, deadline=None)
def test_blocks_follow_the_same_rule(rows: list[list[int]], window: int | None) -> None:
    mask = AttentionMask(places(len(rows)), torch.tensor(rows), None)
    row, query, key = torch.meshgrid(torch.arange(len(rows)), *[torch.arange(LENGTH)] * 2, indexing="ij")
    seen = mask.blocks(window).mask_mod(row, torch.zeros_like(row), query, key)
    assert torch.equal(seen[:, None], mask.explicit(window))
