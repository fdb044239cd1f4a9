"""The nearest-neighbour writer and the word-order task."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.neighbours import NearestNeighbour, pieces
from tutelage.evaluation.order import word_order_pairs

TRAIN = [
    {"name": "shortest_path", "signature": "shortest_path(G, source, target)", "response": "Find a path."},
    {"name": "HTTPServer.close", "signature": "close(self)", "response": "Close the server."},
    {"name": "read_text", "signature": "read_text(path, encoding=None)", "response": "Read a file."},
]


def test_names_fall_apart_at_underscores_and_capitals() -> None:
    assert pieces("HTTPServer.getResponse2", "") == ["http", "server", "get", "response", "2"]
    assert pieces("read_text", "read_text(path)") == ["read", "text", "read", "text", "path"]


def test_nearest_answer() -> None:
    nearest = NearestNeighbour(TRAIN)
    assert nearest.answer("all_shortest_paths", "all_shortest_paths(G, source)") == "Find a path."
    assert nearest.answer("closeServer", "closeServer()") == "Close the server."
    assert nearest.similarity("read_text", TRAIN[2]["signature"])[2] > 0.999
    # Nothing in common: the first one, not a crash.
    assert nearest.answer("zzz", "") == "Find a path."
    assert nearest.answer("", "") == "Find a path."


def test_missing_names_are_no_error() -> None:
    assert NearestNeighbour([{"name": None, "signature": None, "response": "x"}]).answer("a", "b") == "x"


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
def test_any_text_is_survived(texts: list[str], limit: int) -> None:
    assert len(word_order_pairs(texts, limit, seed=0)) <= min(limit, len(texts))


def test_code_and_headings_are_passed_over() -> None:
    assert (
        word_order_pairs(["x = f(1) + g[2] * h{3} - 4 ** 5.", "A short heading", "no capital here at all now."], 9, 0)
        == []
    )
