from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.tasks.docstrings import (
    PHRASINGS,
    docstring_pairs,
    normalised,
    prompt_of,
    response_of,
    why_unfit,
)


def row(number: int, summary: str):
    return {
        "id": f"{number:016x}",
        "name": "graphs.paths.shortest",
        "signature": "shortest(G, source=None)",
        "summary": summary,
    }


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ("Return the shortest path between two nodes.", None),
        ("Return the value of `x` as a plain number.", None),
        ("Too short.", "words"),
        ("A " + "very " * 30 + "long line.", "words"),
        ("Return the shortest path between two nodes", "period"),
        ("return the shortest path between two nodes.", "capital"),
        ("Return a path. Then return another one.", "sentence"),
        ("Return the naïve path between nodes.", "ASCII"),
        ("See :func:`other` for the shortest path.", "markup"),
        ("Return the x[0] -> y[1] path of it.", "markup"),
        ("Returns 1 2 3 4 5 6 7 8 9.", "letters"),
        ("The shortest of the graphs paths.", "repeats"),
    ],
)
def test_filters(summary, reason):
    found = why_unfit(response_of(summary), "graphs.paths.shortest", "shortest(G)")
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_literal_quotes_are_unwrapped_and_lines_joined():
    assert response_of("Return ``x``\n  as it is.") == "Return `x` as it is."


def test_prompts_hold_the_signature_and_every_phrasing_is_used():
    prompts = [prompt_of(f"{i:016x}", "a.b.run", "run(x, y=1)") for i in range(300)]
    assert all("run(x, y=1)" in prompt for prompt in prompts)
    assert len(set(prompts)) == len(PHRASINGS)
    assert all("a.b" not in prompt_of(f"{i:016x}", "run", "run(x)") for i in range(50))


def test_braces_in_a_signature_are_no_template():
    assert "f(x={'a': 1}, where={where})" in prompt_of("0" * 16, "m.f", "f(x={'a': 1}, where={where})")


def test_order_of_rows_does_not_matter_and_the_seed_does():
    words = ["size", "order", "path", "cut", "rank", "type"]
    rows = [row(i, f"Return the {word} of the graph.") for i, word in enumerate(words)]
    pairs, _ = docstring_pairs(rows, seed=3)
    again, _ = docstring_pairs(rows[::-1], seed=3)
    other, _ = docstring_pairs(rows, seed=4)
    assert pairs == again and len(pairs) == 6
    assert [pair["id"] for pair in other] != [pair["id"] for pair in pairs]


def test_rows_without_signature_or_summary_are_not_pairs():
    rows = [{**row(1, "Return the path of it."), "signature": None}, {**row(2, ""), "summary": None}]
    assert docstring_pairs(rows, 0)[0] == []


STARTS = ["Return the path", "Make a new graph", "Read all the files", "Return THE path"]


@given(st.lists(st.sampled_from(STARTS), max_size=30))
def test_no_response_twice_and_none_from_training(starts):
    rows = [row(i, f"{start} of it.") for i, start in enumerate(starts)]
    train, _ = docstring_pairs(rows[::2], 0)
    held, removed = docstring_pairs(rows[1::2], 0, unseen=[pair["response"] for pair in train])
    keys = [normalised(pair["response"]) for pair in train + held]
    assert len(keys) == len(set(keys))
    assert len(held) + sum(removed.values()) == len(rows[1::2])
