"""The nearest-neighbour writer and the word-order task."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.language import Likelihoods
from tutelage.evaluation.neighbours import NearestNeighbour, pieces
from tutelage.evaluation.order import word_order_pairs
from tutelage.store.errors import InputError

DESCRIBED = ["shortest_path(G, source, target)", "HTTPServer.close(self)", "read_text(path, encoding=None)"]
RESPONSES = ["Find a path.", "Close the server.", "Read a file."]


def test_names_fall_apart_at_underscores_and_capitals() -> None:
    assert pieces("HTTPServer.getResponse2") == ["http", "server", "get", "response", "2"]
    assert pieces("read_text read_text(path)") == ["read", "text", "read", "text", "path"]
    assert pieces("What is Bread?") == ["what", "is", "bread"]
    assert pieces("天気予報") == ["天気予報", "天気", "気予", "予報"]


def test_nearest_answer() -> None:
    nearest = NearestNeighbour(DESCRIBED, RESPONSES)
    assert nearest.answer("all_shortest_paths(G, source)") == "Find a path."
    assert nearest.answers(["closeServer()", "reads text"]) == ["Close the server.", "Read a file."]
    assert nearest.similarity(DESCRIBED[2])[2] > 0.999
    # Nothing in common: the first one, not a crash.
    assert nearest.answer("zzz") == "Find a path."
    assert nearest.answer("") == "Find a path."


def test_a_script_without_spaces_has_neighbours() -> None:
    nearest = NearestNeighbour(["明日の天気予報", "駅までの道"], ["Rain.", "Left."])
    assert nearest.answers(["駅への道は", "天気予報は"]) == ["Left.", "Rain."]


def test_descriptions_without_words_are_no_error() -> None:
    nearest = NearestNeighbour(["", "..."], ["x", "y"])
    assert nearest.answer("a") == "x"
    assert np.array_equal(nearest.similarity("a"), [0.0, 0.0])
    with pytest.raises(InputError, match="1 descriptions and 2 responses"):
        NearestNeighbour(["a"], ["x", "y"])


def test_a_tie_is_half_right() -> None:
    assert Likelihoods([], [(-1.0, -2.0), (-2.0, -1.0), (-1.0, -1.0)]).right == [1.0, 0.0, 0.5]


TEXT = (
    "Return the shortest path between two nodes of a graph. Short one. "
    "This method raises an error when the given file cannot be read again."
)


def test_a_pair_differs_by_exactly_two_words() -> None:
    pairs = word_order_pairs([TEXT] * 30, 20, seed=1)
    assert len(pairs) == 20
    assert len({pair.real for pair in pairs}) == 2
    for pair in pairs:
        real, swapped = pair.real.split(), pair.swapped.split()
        assert pair.real in TEXT
        assert sum(a != b for a, b in zip(real, swapped, strict=True)) == 2
        assert Counter(real) == Counter(swapped)
        assert all(len(a) >= 5 for a, b in zip(real, swapped, strict=True) if a != b)
        assert (real[0], real[-1]) == (swapped[0], swapped[-1])
    assert pairs == word_order_pairs([TEXT] * 30, 20, seed=1)


@given(st.lists(st.text(), max_size=5), st.integers(0, 3))
def test_any_text_is_accepted(texts: list[str], limit: int) -> None:
    assert len(word_order_pairs(texts, limit, seed=0)) <= min(limit, len(texts))


def test_code_and_headings_are_skipped() -> None:
    assert (
        word_order_pairs(["x = f(1) + g[2] * h{3} - 4 ** 5.", "A short heading", "no capital here at all now."], 9, 0)
        == []
    )
