"""Relevance: it finds what resembles the target, and a text's length is worth nothing."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import TOPICS, good, off_topic
from scipy.stats import spearmanr

from tutelage.corpus.selection.relevance import log_ratios, relevance, told_apart
from tutelage.store.errors import InputError


def texts_of(topic: str, count: int, seed: int, sentences: tuple[int, int]) -> list[str]:
    return good(topic, count, seed, sentences)


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """Three topics without the sea, with texts of 1 to 40 sentences."""
    return [text for topic in TOPICS[1:] for text in good(topic, 120, 5, (1, 40))]


def test_a_text_said_twice_weighs_the_same(corpus: list[str]) -> None:
    ratios = log_ratios(good("sea", 50, 1), corpus)
    once = good("sea", 20, 2) + good("garden", 20, 2)
    weights = relevance([*once, *(f"{text} {text}" for text in once)], ratios).weight
    # The one pair of words across the seam is all that differs.
    assert weights[40:] == pytest.approx(weights[:40], abs=0.05)
    words = ["anchor", "rose rose rose"]
    first, second = relevance(words, ratios).weight, relevance([f"{word} {word}" for word in words], ratios).weight
    assert np.sign(first).tolist() == np.sign(second).tolist()


def test_hidden_texts_of_the_target_are_found_whatever_their_length(corpus: list[str]) -> None:
    hidden = good("sea", 30, 2, (2, 40))
    ratios = log_ratios(good("sea", 50, 1), [*corpus, *hidden])
    found = relevance([*corpus, *hidden], ratios).shrunk
    best = np.argsort(-found)[: len(hidden)]
    assert (best >= len(corpus)).all()


def test_the_ranking_does_not_follow_length(corpus: list[str]) -> None:
    """As the published sum of log ratios does: its extremes are long texts."""
    ratios = log_ratios(good("sea", 50, 1), corpus)
    found = relevance(corpus, ratios)
    lengths = np.array([len(text.split()) for text in corpus])
    summed = found.weight * lengths
    assert abs(spearmanr(summed, lengths).statistic) > 0.8
    assert abs(spearmanr(found.weight, lengths).statistic) < 0.15
    extreme = np.abs(found.shrunk - np.median(found.shrunk)).argsort()[-60:]
    mean_extreme = np.abs(found.weight - np.median(found.weight)).argsort()[-60:]
    # The plain mean goes to extremes where texts are short.
    assert np.median(lengths[mean_extreme]) < np.median(lengths[extreme]) < 1.5 * np.median(lengths)


def test_a_text_without_words_is_neither_here_nor_there(corpus: list[str]) -> None:
    found = relevance([*corpus, "", "…"], log_ratios(good("sea", 50, 1), corpus))
    assert np.isfinite(found.shrunk).all()
    assert found.shrunk[-2:].tolist() == pytest.approx(
        [float(np.average(found.weight[:-2], weights=_grams(corpus)))] * 2
    )


def test_one_short_text_as_target_does_not_make_rare_words_relevant(corpus: list[str]) -> None:
    """With an equal count in every bucket the made-up words, which no text has twice, would rank first."""
    rare = [" ".join(f"word{number}x{at}" for at in range(60)) for number in range(30)]
    hidden = good("sea", 30, 2)
    ratios = log_ratios(good("sea", 1, 1, (3, 4)), [*corpus, *hidden, *rare])
    found = relevance([*hidden, *rare], ratios).shrunk
    assert found[:30].min() > found[30:].max()


def test_whether_a_target_says_enough_is_told_by_texts_not_seen(corpus: list[str]) -> None:
    source = [*corpus, *good("sea", 30, 2)]
    told = told_apart(good("sea", 20, 1), source)
    assert told.low > 0.9
    # Texts of the target that are in the corpus are no others: as they are there or with other white space.
    assert told_apart(good("sea", 20, 1), [*source, *(f" {text}" for text in good("sea", 20, 1))]) == told
    with pytest.raises(InputError, match="9 documents, too few"):
        told_apart(good("sea", 20, 1), [*good("sea", 20, 1), *off_topic(9, 1)])


def test_a_target_like_the_corpus_is_not_told_apart() -> None:
    """Of 40 such targets one is to be expected beyond the interval, on the upper side."""
    chance = np.random.default_rng(5)
    texts = np.array([text for topic in TOPICS for text in good(topic, 60, 6)])
    told = []
    for _ in range(40):
        drawn = chance.permutation(texts).tolist()
        told.append(told_apart(drawn[:12], drawn[12:]))
    assert sum(one.low > 0.5 for one in told) <= 4
    assert np.mean([one.value for one in told]) == pytest.approx(0.5, abs=0.06)


def _grams(texts: list[str]) -> list[int]:
    return [2 * len(text.replace(",", "").replace(".", "").split()) - 1 for text in texts]
