"""The n-gram model: a proper distribution, known values, and better than what it must beat."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutelage.evaluation.ngram import NGram

VOCAB = 7
documents = st.lists(st.lists(st.integers(1, VOCAB - 1), max_size=12), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@example(train=[[1, 1, 3, 2, 1], [3, 1, 1, 2, 1], [3, 1, 1, 2, 1], [3, 1, 1, 2, 1, 3, 1]], order=2, context=[1])
@given(train=documents, order=st.integers(1, 5), context=st.lists(st.integers(1, VOCAB - 1), max_size=6))
def test_probabilities_sum_to_one_after_any_context(train: list[list[int]], order: int, context: list[int]) -> None:
    distribution = NGram.train(train, VOCAB, order).distribution(context)
    assert distribution.shape == (VOCAB,)
    assert (distribution > 0).all()
    assert distribution.sum() == pytest.approx(1.0, abs=1e-9)


def _corpus(seed: int, count: int) -> list[list[int]]:
    """Documents of a random second-order Markov chain over 50 tokens."""
    table = np.random.default_rng(7).dirichlet(np.full(50, 0.05), size=(51, 51)).cumsum(axis=2)
    generator = np.random.default_rng(seed)
    corpus = []
    for _ in range(count):
        ids = [0, 0]
        for draw in generator.uniform(size=int(generator.integers(5, 40))):
            ids.append(1 + min(49, int(np.searchsorted(table[ids[-2], ids[-1]], draw))))
        corpus.append(ids[2:])
    return corpus


def test_sums_to_one_with_estimated_discounts() -> None:
    model = NGram.train(_corpus(1, 300), 51, 4)
    for document in _corpus(2, 20):
        assert model.distribution(document[:5]).sum() == pytest.approx(1.0, abs=1e-9)


def test_longer_contexts_help_where_the_data_has_them() -> None:
    train, held = _corpus(1, 800), _corpus(2, 200)
    means = [np.concatenate(NGram.train(train, 51, order).logprob(held)).mean() for order in (1, 2, 3, 5)]
    assert means[0] < means[1] - 0.2
    assert means[1] < means[2] - 0.2
    assert means[3] > means[1] + 0.2  # contexts longer than the source's memory cost a little only


def test_logprob_agrees_with_the_distribution_and_keeps_the_shape() -> None:
    train, held = _corpus(1, 100), [[3, 4, 5], [], [9]]
    model = NGram.train(train, 51, 3)
    scores = model.logprob(held)
    assert [len(score) for score in scores] == [3, 0, 1]
    assert scores[0][2] == pytest.approx(math.log(model.distribution([3, 4])[5]))
    assert scores[2][0] == pytest.approx(math.log(model.distribution([])[9]))
    assert model.logprob([]) == []


def test_bigram_golden_by_hand() -> None:
    # Documents "1 2" and "1 3" (0 ends both). Too few counts to estimate discounts: D = 0.5, 1, 1.5.
    # Order 1, continuation counts: 1 after {0}, 2 after {1}, 3 after {1}, 0 after {2, 3}: 1, 1, 1, 2 of 5.
    # P1(2) = (1 - .5)/5 + (.5 + .5 + .5 + 1)/5 * 1/4 = 0.225; P2(2|1) = (1 - .5)/2 + (.5 + .5)/2 * 0.225
    model = NGram.train([[1, 2], [1, 3]], 4, 2)
    assert model.distribution([1])[2] == pytest.approx(0.25 + 0.5 * 0.225)
    # After the document start stands 1, twice: (2 - 1)/2 + 1/2 * P1(1), and P1(1) is 0.225 too.
    assert model.distribution([])[1] == pytest.approx(0.5 + 0.5 * 0.225)


def test_an_unseen_context_backs_off_to_a_shorter_one() -> None:
    model = NGram.train(_corpus(1, 50), 60, 3)  # 51..59 never occur
    assert np.allclose(model.distribution([55, 56]), NGram.train(_corpus(1, 50), 60, 3).distribution([57, 58]))


def test_documents_do_not_leak_into_each_other() -> None:
    train = _corpus(1, 50)
    model = NGram.train(train, 51, 4)
    together = model.logprob([[1, 2, 3], [4, 5, 6]])
    assert np.array_equal(together[1], model.logprob([[4, 5, 6]])[0])
    reverse = NGram.train(train[::-1], 51, 4)
    assert np.allclose(reverse.logprob([[4, 5, 6]])[0], together[1])
