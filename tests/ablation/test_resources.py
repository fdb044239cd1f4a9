"""One set of runs, a verdict for each cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.ablation.judge import Outcome, Paired
from tutelage.ablation.resources import Cost, doubling, per_cost

FIRST = Cost(100, 1000, 5000, 10.0, 10.2, 0.05)


def verdict(outcome: Outcome, difference: float = 0.0, reach: float = 0.01) -> Paired:
    return Paired(difference, difference - reach, difference + reach, 0.01, 3, 0.01, outcome)


@pytest.mark.parametrize(
    ("outcome", "seconds", "expected"),
    [
        ("better", 10.0, "better"),
        ("better", 5.0, "better"),
        ("worse", 20.0, "worse"),
        ("not distinguishable", 5.0, "cheaper"),
        ("not distinguishable", 20.0, "dearer"),
        ("not distinguishable", 10.1, "not distinguishable"),
        ("too few seeds", 5.0, "too few seeds"),
        ("failed", 5.0, "worse"),
    ],
)
def test_quality_and_cost_in_one_direction(outcome: Outcome, seconds: float, expected: str) -> None:
    size = {"better": -0.03, "worse": 0.03}.get(outcome, 0.0)
    arm = replace(FIRST, seconds=seconds, slowest=1.02 * seconds)
    assert per_cost(verdict(outcome, size), arm, FIRST, "second").outcome == expected


def test_a_trade_is_decided_only_beyond_what_more_training_could_bring() -> None:
    """Twice as slow: the first could train twice as long, which brings 0.05 at most."""
    slow = replace(FIRST, seconds=20.0, slowest=20.4)
    assert per_cost(verdict("better", -0.09), slow, FIRST, "second").outcome == "better"
    assert per_cost(verdict("better", -0.03), slow, FIRST, "second").outcome == "open"
    fast = replace(FIRST, seconds=5.0, slowest=5.1)
    assert per_cost(verdict("worse", 0.09), fast, FIRST, "second").outcome == "worse"
    assert per_cost(verdict("worse", 0.03), fast, FIRST, "second").outcome == "open"
    unknown = replace(FIRST, doubling=None)
    assert per_cost(verdict("better", -0.09), slow, unknown, "second").outcome == "open"
    assert per_cost(verdict("better", -0.03), slow, FIRST, "second", "seconds").outcome == "better"
    large = replace(FIRST, parameters=10_000)
    assert per_cost(verdict("better", -0.09), large, FIRST, "parameter").outcome == "open"


def test_on_a_busy_machine_nothing_is_said_of_seconds() -> None:
    busy = replace(FIRST, seconds=14.0, slowest=24.0)
    for outcome in ("better", "worse", "not distinguishable"):
        assert per_cost(verdict(outcome, 0.03), busy, FIRST, "second").outcome == "open"  # type: ignore[arg-type]
    assert per_cost(verdict("worse", 0.03), busy, FIRST, "step").outcome == "worse"
    calm = replace(FIRST, seconds=16.0, slowest=16.1)  # its own runs were alike, but those of a third arm were not
    assert per_cost(verdict("worse", 0.03), calm, FIRST, "second").outcome == "worse"
    assert per_cost(verdict("worse", 0.03), calm, FIRST, "second", others=[busy, calm]).outcome == "open"


def test_the_last_doubling_is_read_from_the_validations(tmp_path: Path) -> None:
    points = [{"step": step, "validation": {"bits_per_byte": bits}} for step, bits in ((10, 3.0), (20, 2.4), (40, 2.0))]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [{"step": 5, "loss": 9}, *points]))
    assert doubling(tmp_path / "curve.jsonl") == pytest.approx(0.4)
    (tmp_path / "curve.jsonl").write_text(json.dumps(points[-1]) + "\n")
    assert doubling(tmp_path / "curve.jsonl") is None
