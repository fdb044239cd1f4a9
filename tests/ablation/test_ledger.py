"""The ledger: every try counts, once, and for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.ablation.ledger import Ledger, key_of
from tutelage.store.errors import DamagedError


def test_the_tenth_trial_is_judged_as_the_tenth(tmp_path: Path) -> None:
    for number in range(10):
        ledger = Ledger.open(tmp_path)
        key = key_of(arm=number)
        ledger.record(key, arm=f"arm {number}")
        alone = ledger.adjusted({key: 0.02})[key]
        assert alone == pytest.approx(min(1.0, 0.02 * (number + 1)))
        ledger.record(key, p=0.5)
    assert Ledger.open(tmp_path).count == 10


def test_the_same_try_counts_once_and_nothing_is_overwritten(tmp_path: Path) -> None:
    for p in (None, 0.04, 0.04, 0.03):
        ledger = Ledger.open(tmp_path)
        ledger.record("a", arm="A", **({} if p is None else {"p": p}))
    assert Ledger.open(tmp_path).count == 1
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 3
    assert Ledger.open(tmp_path).tries["a"]["p"] == 0.03


def test_better_ones_that_were_found_do_not_weigh_as_heavily(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.record("found", p=1e-6)
    ledger.record("now")
    assert ledger.adjusted({"now": 0.03})["now"] == pytest.approx(0.03)  # Holm: the smallest is out of the way


def test_a_line_cut_by_a_kill_is_left_out_and_other_damage_is_named(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.record("a", p=0.1)
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"try": "b", "p":')
    assert list(Ledger.open(tmp_path).tries) == ["a"]
    (tmp_path / "ledger.jsonl").write_text('{"p": 1}\n')
    with pytest.raises(DamagedError, match="line 1"):
        Ledger.open(tmp_path)
