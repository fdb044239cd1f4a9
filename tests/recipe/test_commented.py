"""Reasons stand beside values, and the YAML stays what it was."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.recipe.commented import commented

Scalar = st.none() | st.booleans() | st.integers() | st.floats(0.001, 1000) | st.text(max_size=12)
Key = st.text("abc_xyz", min_size=1, max_size=8)
Tree = Scalar | st.lists(Scalar, max_size=3) | st.dictionaries(Key, Scalar, max_size=3)


@settings(max_examples=40)
@given(st.dictionaries(Key, Tree, min_size=1, max_size=4), st.text(max_size=300))
def test_whatever_the_reasons_the_data_is_read_back(data: dict[str, Any], reason: str) -> None:
    keys = dict.fromkeys(data, reason) | {f"{key}.{inner}": reason for key, value in data.items()
                                            if isinstance(value, dict) for inner in value}  # fmt: skip
    assert yaml.safe_load(commented(data, keys)) == data


def test_a_reason_stands_above_its_value() -> None:
    text = commented({"model": {"hidden_size": 64}, "seed": 1}, {"model.hidden_size": "small enough " * 12})
    lines = text.splitlines()
    assert lines[0] == "model:" and lines[1].startswith("  # small enough") and lines[-2] == "  hidden_size: 64"
    assert lines[-1] == "seed: 1" and all(len(line) <= 100 for line in lines)
