"""The rule of PEP 257: each part with examples on both sides, and bounds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.tasks.docstrings import RULES, check

NAME, SIGNATURE = "shortest_path", "shortest_path(G, source=None, target=None)"
GOOD = "Compute the least costly route between two nodes."


def failed(text: str, name: str = NAME, signature: str = SIGNATURE) -> set[str]:
    return {rule for rule, passed in check(text, name, signature).passed.items() if not passed}


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Return True if the graph has a cycle, e.g. a triangle.",
        "Recursively remove every node without an edge.",
        "Re-raise the last error with its cause.",
        "Set up the table of nodes that were seen.",
    ],
)
def test_good_lines(text: str) -> None:
    assert failed(text) == set() and check(text, NAME, SIGNATURE).score == 1.0


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("one_line", "Compute the least costly route.\n"),
        ("ends_in_period", "Compute the least costly route"),
        ("ends_in_period", "Compute the least costly route..."),
        ("ends_in_period", "Compute the least costly route. It is fast."),
        ("ends_in_period", "Compute the least costly route?"),
        ("says_what_it_does", "Computes the least costly route."),
        ("says_what_it_does", "Returns the least costly route."),
        ("says_what_it_does", "The least costly route between nodes."),
        ("says_what_it_does", "This computes the least costly route."),
        ("says_what_it_does", "compute the least costly route."),
        ("says_what_it_does", "Compute it."),
        ("says_what_it_does", "Compute the " + " ".join(f"word{n}" for n in range(20)) + "."),
        ("no_repetition", "Compute the the least costly route."),
        ("no_repetition", "Compute the least costly route of the least costly route."),
        ("not_the_signature", "Get shortest_path(G) of the nodes."),
        ("not_the_signature", "Source the shortest path to the target."),
    ],
)
def test_each_rule_by_itself(rule: str, text: str) -> None:
    assert rule in failed(text)
    assert failed(text) <= {rule, "says_what_it_does"}


def test_the_score_is_the_share_of_rules() -> None:
    assert check("", NAME, SIGNATURE).score == 0.0
    assert check("Compute the least costly route", NAME, SIGNATURE).score == pytest.approx(0.8)


@given(st.text(), st.text(), st.text())
def test_any_text_gets_a_verdict(text: str, name: str, signature: str) -> None:
    verdict = check(text, name, signature)
    assert 0.0 <= verdict.score <= 1.0 and set(verdict.passed) == set(RULES)
    assert verdict.score == pytest.approx(sum(verdict.passed.values()) / len(RULES))
    assert check(text, name, signature) == verdict
