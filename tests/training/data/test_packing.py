"""Packing and the computed permutation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.store.errors import InputError
from tutelage.training.data.packing import Example, Segment, branched, pack
from tutelage.training.data.position import (
    BLOCK,
    DataState,
    drawn,
    epochs,
    evenly_spaced,
    microbatches,
    ordered_batches,
    permuted,
    row_numbers,
)


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


def answer(prompt: list[int], ids: list[int], mark: float) -> Segment:
    """Learned is the answer, predicted from the last token of the prompt on."""
    tokens, weights = [*prompt, *ids], [0.0] * (len(prompt) - 1) + [1.0] * len(ids)
    return Segment(tokens[:-1], tokens[1:], weights, {"side": [mark * weight for weight in weights]})


def test_branches_begin_before_the_first_of_them_learns_and_count_on_from_what_they_share() -> None:
    """The last token of the prompt predicts another first token in each, so it stands in both."""
    both = branched([answer([5, 6, 7, 8], [1, 2, 3], 1.0), answer([5, 6, 7, 8], [1, 9], -1.0)])
    assert both.tokens == [5, 6, 7, 8, 1, 2, 8, 1]
    assert both.targets[3:] == [1, 2, 3, 1, 9] and both.weights == [0, 0, 0, 1, 1, 1, 1, 1]
    assert both.extras["side"] == [0, 0, 0, 1, 1, 1, -1, -1]
    assert both.branches == [0, 0, 0, 1, 1, 1, 2, 2] and both.shared == 3
    assert both.positions.tolist() == [0, 1, 2, 3, 4, 5, 3, 4]


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        (([5, 6, 7], [5, 9, 7]), 1),  # a template that writes the prompt in another way
        (([5, 6], [4, 6]), 0),
        (([5, 6, 7], [5, 6]), 1),  # one learns where the other still reads
        (([5], [5]), 0),
    ],
)
def test_only_what_begins_both_is_shared(prompts: tuple[list[int], list[int]], shared: int) -> None:
    segments = [answer(prompt, [1, 2], 1.0) for prompt in prompts]
    both = branched(segments)
    assert both.shared == shared
    for number, segment in enumerate(segments, 1):
        own = [at for at, branch in enumerate(both.branches or ()) if branch in (0, number)]
        assert [both.tokens[at] for at in own] == segment.tokens
        assert [both.targets[at] for at in own if both.weights[at]] == [1, 2]
        assert both.positions[own].tolist() == list(range(len(segment.tokens)))


def test_rows_hold_branches_beside_plain_documents_and_their_digest_knows_them() -> None:
    pairs = [Example([branched([answer([5, 6, number], [1], 1.0), answer([5, 6, number], [2], 1.0)])])
             for number in (7, 8)]  # fmt: skip
    rows = pack([*pairs, example(1, 3)], 12)
    assert len(rows) == 1 and rows.branches is not None
    assert rows.branches.tolist() == [[0, 0, 1, 2, 0, 0, 1, 2, 0, 0, 0, 0]]
    assert rows.positions.tolist() == [[0, 1, 2, 2, 0, 1, 2, 2, 0, 1, 2, 0]]
    assert rows.documents.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0]]
    batch = rows.batch(np.arange(1)).to(torch.device("cpu"))
    assert batch.branches is not None and batch.branches.dtype == torch.int64
    assert batch.branches.tolist() == rows.branches.tolist()
    digest = rows.digest()
    rows.branches[0, 3] = 1
    assert rows.digest() != digest
    assert pack([example(1, 3)], 12).branches is None and pack([example(1, 3)], 12).batch(np.arange(1)).branches is None


def test_what_does_not_fit_is_an_error_and_so_is_nothing() -> None:
    with pytest.raises(InputError, match="21 tokens does not fit a row of 20"):
        pack([example(1, 21)], 20)
    with pytest.raises(InputError, match="nothing to train on"):
        pack([], 20)


def test_the_digest_is_of_all_that_is_learned_and_fixed_forever() -> None:
    """A golden: with another digest of the same rows no checkpoint could be taken up."""
    rows = pack([example(1, 4, 3), example(2, 5)], 8)
    assert rows.digest() == "15c18f4b01022b4eba8203e3b100d81a30ed16783069a021fa274e524a6524ac"
    found = {rows.digest()}
    for array in (rows.tokens, rows.documents, rows.targets, rows.weights, rows.extras["x"]):
        array[1, 2] += 1
        found.add(rows.digest())
    assert len(found) == 6


def test_a_batch_is_wide_and_keeps_its_extras_wherever_it_goes() -> None:
    rows = pack([example(1, 4, 3), example(2, 5)], 8)
    batch = rows.batch(np.array([1, 0])).to(torch.device("cpu"))
    for name in ("tokens", "positions", "documents", "targets"):
        made = getattr(batch, name)
        assert made.dtype == torch.int64 and made.tolist() == getattr(rows, name)[::-1].tolist()
    for made, kept in ((batch.weights, rows.weights), (batch.extras["x"], rows.extras["x"])):
        assert made.dtype == torch.float32 and made.tolist() == kept[::-1].tolist()


@given(st.integers(1, 3000), st.text(max_size=5))
def test_the_permutation_is_one(size: int, key: str) -> None:
    assert sorted(permuted(np.arange(size), size, key)) == list(range(size))


@pytest.mark.parametrize(
    ("size", "begin"),
    [
        (3, [0, 2, 1]),
        (10, [0, 3, 9, 7, 8, 2, 5, 4, 1, 6]),
        (16, [0, 3, 9, 13, 8, 11, 15, 4]),
        (17, [4, 9, 6, 3, 11, 13, 2, 7]),
        (1000, [502, 138, 38, 893, 453, 673, 76, 141]),
    ],
)
def test_the_order_is_fixed_forever(size: int, begin: list[int]) -> None:
    """Goldens: changing the permutation would change every run and break every resume."""
    assert permuted(np.arange(len(begin)), size, "7:0").tolist() == begin


def test_the_order_of_a_mixture_is_fixed_forever() -> None:
    """Goldens, too: which source each draw is from, how many came before, and the rows under the seed."""
    source, taken = drawn((3.0, 1.5, 0.5), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 1022, 1023, 1024, 5000]))
    assert source.tolist() == [0, 1, 0, 2, 0, 1, 0, 0, 1, 1, 0, 0, 0]
    assert taken.tolist() == [0, 0, 1, 0, 2, 1, 3, 4, 2, 306, 613, 614, 2998]
    numbers = row_numbers(((10, 3.0), (5, 1.0)), DataState(3, 2000), 16)
    assert numbers.tolist() == [5, 2, 10, 4, 9, 3, 11, 0, 8, 6, 12, 1, 7, 6, 14, 8]


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ((3.0, 2.0), [614, 410]),  # 614.4 and 409.6
        ((5.0, 3.0, 2.0), [512, 307, 205]),  # 512, 307.2 and 204.8
        ((6.0, 1e-3, 3.0, 1e-4), [682, 1, 340, 1]),  # none is left out, however little it weighs
    ],
)
def test_a_mixture_rounds_its_shares_to_whole_draws(weights: tuple[float, ...], counts: list[int]) -> None:
    source, taken = drawn(weights, np.arange(3 * BLOCK))
    assert np.bincount(source[:BLOCK]).tolist() == counts
    for which, count in enumerate(counts):  # nor is any row skipped where the next block begins
        assert taken[source == which].tolist() == list(range(3 * count))


def test_epochs_count_from_the_first_sample() -> None:
    sources = ((10, 3.0), (50, 1.0))
    assert [epochs(sources, samples) for samples in (0, 1, 2)] == [[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]]


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


def test_a_limit_is_spread_over_all_rows_and_never_repeats_one() -> None:
    assert evenly_spaced(11, 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly_spaced(11, 20).tolist() == evenly_spaced(11).tolist() == list(range(11))
