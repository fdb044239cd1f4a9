"""Corrected p-values against known ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.compare.corrections import benjamini_hochberg, correct, holm

P = [0.01, 0.04, 0.03, 0.005]


def test_golden() -> None:
    # statsmodels.stats.multitest.multipletests(P, method="holm" and "fdr_bh")
    assert holm(P) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(P) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert correct(P, "none") == P
    assert correct([], "holm") == []


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=20))
def test_never_below_p_and_in_its_order(p: list[float]) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert all(q <= a <= 1 for q, a in zip(p, adjusted, strict=True))
        ranked = sorted(range(len(p)), key=lambda at: p[at])
        assert [adjusted[at] for at in ranked] == sorted(adjusted)
    assert all(a <= b + 1e-12 for a, b in zip(benjamini_hochberg(p), holm(p), strict=True))
