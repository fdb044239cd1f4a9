"""The self-test passes, and fails for statistics that are wrong."""

from __future__ import annotations

import pytest

from tutelage.evaluation import selftest
from tutelage.evaluation.selftest import self_test
from tutelage.evaluation.statistics import Interval


@pytest.mark.slow
def test_all_of_it_passes() -> None:
    checks = list(self_test())
    assert [check.text for check in checks if check.passed is False] == []
    assert len(checks) > 30


def test_a_narrow_interval_fails_and_the_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = selftest.wilson

    def narrow(successes: float, n: int) -> Interval:
        found = whole(successes, n)
        assert found.low is not None
        assert found.high is not None
        return Interval(found.value, (found.value + found.low) / 2, (found.value + found.high) / 2)

    monkeypatch.setattr(selftest, "wilson", narrow)
    monkeypatch.setattr(selftest, "_TRIALS", {10: 300, 50: 150})
    monkeypatch.setattr(selftest, "_ALIKE", ())
    monkeypatch.setattr(selftest, "_PLANTED", ())
    monkeypatch.setattr(selftest, "_judges", lambda trials, seed: iter(()))
    checks = list(self_test())
    failed = {check.name for check in checks if check.passed is False}
    assert "coverage: a share (of 5 to 95 %)" in failed
    assert all(check.found < 0.85 for check in checks if check.name.startswith("coverage: a share (of"))
    assert any(check.passed is None for check in checks)
    assert [check.plain() for check in checks] == [check.plain() for check in self_test()]
