"""Relevance: it finds what resembles the target, and a text's length is worth nothing."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import TOPICS, good
from scipy.stats import spearmanr

from tutelage.corpus.selection.relevance import log_ratios, relevance


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


def _grams(texts: list[str]) -> list[int]:
    return [2 * len(text.replace(",", "").replace(".", "").split()) - 1 for text in texts]
