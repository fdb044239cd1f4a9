"""Numbers as a reader sees them."""

from __future__ import annotations

import pytest

from tutelage.store import format as f


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (14210, "14,210"),
        (-3, "−3"),
        (1.5832, "1.58"),
        (0.0310, "0.0310"),
        (12345.6, "12,346"),
        (3e-4, "3.00e−4"),
        (1200.0, "1,200"),
        (None, "–"),
        ("n/a", "n/a"),
        (-1.5e-9, "−1.50e−9"),
    ],
)
def test_number(value: object, shown: str) -> None:
    assert f.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.01, "0 s"), (6.13, "6.1 s"), (59.4, "59 s"), (241.7, "4 min 02 s"), (59.9, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert f.duration(seconds) == shown


def test_sizes_shares_and_plurals() -> None:
    assert f.size(7_530_000) == "7.53 MB"
    assert f.size(512) == "512 B"
    assert f.compact(2_816_384) == "2.82 M"
    assert f.percent(0.4554) == "45.5 %"
    assert f.percent(None) == "–"
    assert f.plural(1, "document") == "1 document"
    assert f.plural(2000, "document") == "2,000 documents"
    assert f.clip("abcdef", 4) == "abc…"
    assert not f.is_number(True) and not f.is_number(float("nan"))
